// A person decides on each shell command: harmless ones are allowed, others denied.
import Anthropic from '@anthropic-ai/sdk';
import { randomBytes } from 'node:crypto';

const client = new Anthropic();
const message = process.argv[2] ?? 'List the files here, then delete them all.';

const agent = await client.beta.agents.create({
  name: 'Careful',
  model: process.env.MODEL ?? 'claude-opus-5-5',
  tools: [
    {
      type: 'agent_toolset_20260401',
      configs: [{ name: 'bash', permission_policy: { type: 'always_ask' } }],
    },
  ],
});
const environment = await client.beta.environments.create({
  name: `careful-${randomBytes(4).toString('hex')}`,
  config: { type: 'cloud' },
});
const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });
const asked = new Map<string, string>();

const stream = await client.beta.sessions.events.stream(session.id);
await client.beta.sessions.events.send(session.id, {
  events: [{ type: 'user.message', content: [{ type: 'text', text: message }] }],
});
for await (const event of stream) {
  if (event.type === 'agent.tool_use') {
    asked.set(event.id, String(event.input['command'] ?? ''));
  } else if (event.type === 'agent.message') {
    console.log(event.content.map((block) => (block.type === 'text' ? block.text : '')).join(''));
  } else if (event.type === 'session.status_idle') {
    if (event.stop_reason.type !== 'requires_action') break;
    const decisions = event.stop_reason.event_ids.map((id) => {
      const harmless = !asked.get(id)!.includes('rm ');
      console.log(`${harmless ? 'allow' : 'deny'}: ${asked.get(id)}`);
      const decision = { type: 'user.tool_confirmation' as const, tool_use_id: id };
      return harmless
        ? { ...decision, result: 'allow' as const }
        : { ...decision, result: 'deny' as const, deny_message: 'Nothing is deleted here.' };
    });
    await client.beta.sessions.events.send(session.id, { events: decisions });
  }
}
