// A file in, a file out: the agent reads an upload and leaves its answer as a file.
import Anthropic, { toFile } from '@anthropic-ai/sdk';
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

const client = new Anthropic();
const message =
  process.argv[2] ??
  'Sum the second column of /mnt/session/uploads/sales.csv and write the total to /mnt/session/outputs/total.txt.';

const upload = await client.beta.files.upload({
  file: await toFile(Buffer.from('month,amount\njan,10\nfeb,32\n'), 'sales.csv', { type: 'text/csv' }),
});
const agent = await client.beta.agents.create({
  name: 'Clerk',
  model: process.env.MODEL ?? 'claude-opus-5-5',
  tools: [{ type: 'agent_toolset_20260401' }],
});
const environment = await client.beta.environments.create({
  name: `clerk-${randomBytes(4).toString('hex')}`,
  config: { type: 'cloud' },
});
const session = await client.beta.sessions.create({
  agent: agent.id,
  environment_id: environment.id,
  resources: [{ type: 'file', file_id: upload.id, mount_path: 'sales.csv' }],
});

const stream = await client.beta.sessions.events.stream(session.id);
await client.beta.sessions.events.send(session.id, {
  events: [{ type: 'user.message', content: [{ type: 'text', text: message }] }],
});
for await (const event of stream) {
  if (event.type === 'agent.message') {
    console.log(event.content.map((block) => (block.type === 'text' ? block.text : '')).join(''));
  } else if (event.type === 'session.status_idle') {
    break;
  }
}

const deadline = Date.now() + 120_000;
let outputs: { id: string; filename: string }[] = [];
while (outputs.length === 0 && Date.now() < deadline) {
  // files appear a few seconds after the session is idle
  const listed = await client.beta.files.list({ scope_id: session.id });
  outputs = listed.data.filter((file) => file.downloadable);
  await sleep(500);
}
for (const file of outputs) {
  const content = await client.beta.files.download(file.id);
  console.log(`${file.filename}: ${(await content.text()).trim()}`);
}
