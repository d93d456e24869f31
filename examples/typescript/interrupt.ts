// Interrupt and redirect: one request stops what runs and gives the agent another task.
import Anthropic from '@anthropic-ai/sdk';
import { randomBytes } from 'node:crypto';

const client = new Anthropic();
const first = process.argv[2] ?? 'Run `sleep 600` in the shell.';
const second = process.argv[3] ?? 'Never mind. Say hello.';

const agent = await client.beta.agents.create({
  name: 'Redirected',
  model: process.env.MODEL ?? 'claude-opus-5-5',
  tools: [{ type: 'agent_toolset_20260401' }],
});
const environment = await client.beta.environments.create({
  name: `redirected-${randomBytes(4).toString('hex')}`,
  config: { type: 'cloud' },
});
const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });

let redirected = false;
const stream = await client.beta.sessions.events.stream(session.id);
await client.beta.sessions.events.send(session.id, {
  events: [{ type: 'user.message', content: [{ type: 'text', text: first }] }],
});
for await (const event of stream) {
  if (event.type === 'agent.tool_use' && !redirected) {
    redirected = true;
    console.log(`interrupting: ${JSON.stringify(event.input)}`);
    await client.beta.sessions.events.send(session.id, {
      events: [
        { type: 'user.interrupt' },
        { type: 'user.message', content: [{ type: 'text', text: second }] },
      ],
    });
  } else if (event.type === 'agent.message') {
    console.log(event.content.map((block) => (block.type === 'text' ? block.text : '')).join(''));
    if (redirected) break;
  }
}
