// Follow a session through broken connections: open the stream, list what happened, skip what was seen.
import Anthropic from '@anthropic-ai/sdk';
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

const client = new Anthropic({ maxRetries: 10, timeout: 20_000 }); // an answer that does not begin by then is lost
const message = process.argv[2] ?? 'Count from 1 to 20, one shell command for each number, slowly.';

/** Yield each event once, whatever happens to a connection. */
async function* follow(sessionId: string) {
  const seen = new Set<string>();
  for (;;) {
    const stop = new AbortController();
    try {
      const stream = await client.beta.sessions.events.stream(sessionId, {}, { signal: stop.signal });
      for await (const event of client.beta.sessions.events.list(sessionId, { limit: 1000 })) {
        if (!seen.has(event.id)) {
          seen.add(event.id);
          yield event;
        }
      }
      for await (const event of stream) {
        if ('id' in event && !seen.has(event.id)) {
          seen.add(event.id);
          yield event;
        }
      }
    } catch (failure) {
      console.error(`again, after ${failure}`);
    } finally {
      stop.abort(); // a stream nobody reads would keep its connection, and this program, open
    }
    await sleep(500);
  }
}

const agent = await client.beta.agents.create({
  name: 'Patient',
  model: process.env.MODEL ?? 'claude-opus-5-5',
  tools: [{ type: 'agent_toolset_20260401' }],
});
const environment = await client.beta.environments.create({
  name: `patient-${randomBytes(4).toString('hex')}`,
  config: { type: 'cloud' },
});
const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });
await client.beta.sessions.events.send(session.id, {
  events: [{ type: 'user.message', content: [{ type: 'text', text: message }] }],
});
console.log(`session ${session.id}`);

for await (const event of follow(session.id)) {
  if (event.type === 'agent.tool_result' || event.type === 'agent.message') {
    console.log((event.content ?? []).map((block) => (block.type === 'text' ? block.text : '')).join(''));
  } else if (event.type === 'session.status_idle') {
    break;
  }
}
