// A custom tool: the agent asks, this program answers, the session goes on.
import Anthropic from '@anthropic-ai/sdk';
import { randomBytes } from 'node:crypto';

const client = new Anthropic();
const message = process.argv[2] ?? 'What is the weather in Paris? Use the tool.';
const weather: Record<string, string> = { Paris: '18 °C, light rain', Oslo: '4 °C, clear' };

const agent = await client.beta.agents.create({
  name: 'Weather',
  model: process.env.MODEL ?? 'claude-opus-5-5',
  tools: [
    {
      type: 'custom',
      name: 'get_weather',
      description: 'Tells the weather of a city now.',
      input_schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
    },
  ],
});
const environment = await client.beta.environments.create({
  name: `weather-${randomBytes(4).toString('hex')}`,
  config: { type: 'cloud' },
});
const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });

const stream = await client.beta.sessions.events.stream(session.id);
await client.beta.sessions.events.send(session.id, {
  events: [{ type: 'user.message', content: [{ type: 'text', text: message }] }],
});
for await (const event of stream) {
  if (event.type === 'agent.custom_tool_use') {
    const city = String(event.input['city']);
    console.log(`asked for ${city}`);
    await client.beta.sessions.events.send(session.id, {
      events: [
        {
          type: 'user.custom_tool_result',
          custom_tool_use_id: event.id,
          content: [{ type: 'text', text: weather[city] ?? 'unknown' }],
        },
      ],
    });
  } else if (event.type === 'agent.message') {
    console.log(event.content.map((block) => (block.type === 'text' ? block.text : '')).join(''));
  } else if (event.type === 'session.status_idle' && event.stop_reason.type !== 'requires_action') {
    break;
  }
}
