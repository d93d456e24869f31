// Chat with an agent: each argument is one message.
import Anthropic from '@anthropic-ai/sdk';
import { randomBytes } from 'node:crypto';

const client = new Anthropic();
const given = process.argv.slice(2);
const messages = given.length ? given : ['Which Python version does your sandbox have?', 'And how much memory?'];

const agent = await client.beta.agents.create({
  name: 'Chat',
  model: process.env.MODEL ?? 'claude-opus-5-5',
  system: 'You are a helpful assistant. Be brief.',
  tools: [{ type: 'agent_toolset_20260401' }],
});
const environment = await client.beta.environments.create({
  name: `chat-${randomBytes(4).toString('hex')}`,
  config: { type: 'cloud' },
});
const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id, title: 'Chat' });
console.log(`session ${session.id}`);

for (const message of messages) {
  console.log(`> ${message.split('\n')[0]}`);
  const stream = await client.beta.sessions.events.stream(session.id);
  await client.beta.sessions.events.send(session.id, {
    events: [{ type: 'user.message', content: [{ type: 'text', text: message }] }],
  });
  for await (const event of stream) {
    if (event.type === 'agent.message') {
      console.log(event.content.map((block) => (block.type === 'text' ? block.text : '')).join(''));
    } else if (event.type === 'agent.tool_use') {
      console.log(`  [${event.name} ${JSON.stringify(event.input)}]`);
    } else if (event.type === 'session.error') {
      console.log(`  error: ${event.error.message}`);
    } else if (event.type === 'session.status_idle') {
      break;
    }
  }
}
