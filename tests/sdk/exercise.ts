// Call every route and error class that one version of the TypeScript SDK has; print a JSON line for each.
// `status` is `pass`, `fail`, or `absent` for what this version of the SDK does not have.
import Anthropic, { toFile } from '@anthropic-ai/sdk';
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

class Absent extends Error {}

// One program for versions whose types differ: calls go through an untyped client; the examples are the typed proof.
const client: any = new Anthropic({ timeout: 60_000 });
const suffix = randomBytes(4).toString('hex');
const state: any = {};
// The first versions drop every session event of a stream.
const deaf = process.env.SDK_DEAF === '1';

function must(held: unknown, what: string): void {
  if (!held) throw new Error(what);
}

function part(path: string): any {
  let owner: any = undefined;
  let value: any = client;
  for (const name of path.split('.')) {
    owner = value;
    value = value?.[name];
    if (value === undefined) throw new Absent(path);
  }
  return typeof value === 'function' ? value.bind(owner) : value;
}

const text = (value: string) => ({ type: 'user.message', content: [{ type: 'text', text: value }] });
const script = (...steps: object[]) => `Follow the script.\n\n\`\`\`script\n${JSON.stringify(steps)}\n\`\`\`\n`;

async function all(pages: AsyncIterable<any>): Promise<any[]> {
  const found = [];
  for await (const item of pages) found.push(item);
  return found;
}

async function waitIdle(session: string): Promise<void> {
  const deadline = Date.now() + 60_000;
  while ((await client.beta.sessions.retrieve(session)).status !== 'idle') {
    must(Date.now() < deadline, 'idle within 60 s');
    await sleep(200);
  }
}

async function refused(kind: any, call: () => Promise<unknown>): Promise<void> {
  try {
    await call();
  } catch (error) {
    must(error instanceof kind, `${error}`);
    return;
  }
  throw new Error('accepted');
}

const checks: [string, () => Promise<void>][] = [
  ['POST /v1/agents', async () => {
    state.agent = await client.beta.agents.create({
      name: `SDK ${suffix}`,
      model: 'simulated',
      tools: [{ type: 'agent_toolset_20260401' }],
      metadata: { kind: 'sdk' },
    });
    must(state.agent.version === 1 && state.agent.model.id === 'simulated', JSON.stringify(state.agent));
  }],
  ['GET /v1/agents/{}', async () => {
    must((await client.beta.agents.retrieve(state.agent.id)).name === state.agent.name, 'name');
  }],
  ['POST /v1/agents/{}', async () => {
    const changed = await client.beta.agents.update(state.agent.id, { version: 1, description: 'changed' });
    must(changed.version === 2 && changed.description === 'changed', JSON.stringify(changed));
  }],
  ['GET /v1/agents', async () => {
    const found = await all(client.beta.agents.list({ limit: 2 }));
    must(found.some((agent) => agent.id === state.agent.id), 'listed by the pager');
  }],
  ['GET /v1/agents/{}/versions', async () => {
    must((await all(client.beta.agents.versions.list(state.agent.id))).length === 2, 'two versions');
  }],
  ['POST /v1/environments', async () => {
    state.environment = await client.beta.environments.create({ name: `sdk-${suffix}`, config: { type: 'cloud' } });
  }],
  ['GET /v1/environments/{}', async () => {
    must((await client.beta.environments.retrieve(state.environment.id)).name === `sdk-${suffix}`, 'name');
  }],
  ['POST /v1/environments/{}', async () => {
    const changed = await client.beta.environments.update(state.environment.id, { description: 'changed' });
    must(changed.description === 'changed', JSON.stringify(changed));
  }],
  ['GET /v1/environments', async () => {
    const found = await all(client.beta.environments.list({ limit: 2 }));
    must(found.some((environment) => environment.id === state.environment.id), 'listed by the pager');
  }],
  ['POST /v1/environments/{}/archive', async () => {
    state.spare = await client.beta.environments.create({ name: `spare-${suffix}`, config: { type: 'cloud' } });
    must((await client.beta.environments.archive(state.spare.id)).archived_at, 'archived_at');
  }],
  ['DELETE /v1/environments/{}', async () => {
    await client.beta.environments.delete(state.spare.id);
  }],
  ['POST /v1/vaults', async () => {
    const body = { display_name: `SDK ${suffix}`, metadata: { kind: 'sdk' } };
    state.vault = await part('beta.vaults.create')(body);
    must(state.vault.id.startsWith('vlt_'), 'id');
  }],
  ['GET /v1/vaults/{}', async () => {
    must((await part('beta.vaults.retrieve')(state.vault.id)).metadata.kind === 'sdk', 'metadata');
  }],
  ['POST /v1/vaults/{}', async () => {
    const changed = await part('beta.vaults.update')(state.vault.id, { display_name: 'changed' });
    must(changed.display_name === 'changed', JSON.stringify(changed));
  }],
  ['GET /v1/vaults', async () => {
    const found = await all(part('beta.vaults.list')({ limit: 2 }));
    must(found.some((vault) => vault.id === state.vault.id), 'listed by the pager');
  }],
  ['POST /v1/vaults/{}/credentials', async () => {
    const auth = { type: 'static_bearer', mcp_server_url: `https://${suffix}.example/mcp`, token: 'secret' };
    const made = await part('beta.vaults.credentials.create')(state.vault.id, { auth, display_name: 'one' });
    must(made.id.startsWith('vcrd_') && made.auth.mcp_server_url === auth.mcp_server_url, JSON.stringify(made));
    state.credential = made.id;
    state.within = { vault_id: state.vault.id };
  }],
  ['GET /v1/vaults/{}/credentials/{}', async () => {
    const found = await part('beta.vaults.credentials.retrieve')(state.credential, state.within);
    must(found.display_name === 'one' && found.auth.token === undefined, JSON.stringify(found));
  }],
  ['POST /v1/vaults/{}/credentials/{}', async () => {
    const change = { ...state.within, auth: { type: 'static_bearer', token: 'newer' }, metadata: { a: '1' } };
    const changed = await part('beta.vaults.credentials.update')(state.credential, change);
    must(changed.metadata.a === '1', JSON.stringify(changed));
  }],
  ['GET /v1/vaults/{}/credentials', async () => {
    const found = await all(part('beta.vaults.credentials.list')(state.vault.id));
    must(found.length === 1 && found[0].id === state.credential, 'listed by the pager');
  }],
  ['POST /v1/vaults/{}/credentials/{}/archive', async () => {
    const archived = await part('beta.vaults.credentials.archive')(state.credential, state.within);
    must(archived.archived_at, 'archived_at');
  }],
  ['DELETE /v1/vaults/{}/credentials/{}', async () => {
    await part('beta.vaults.credentials.delete')(state.credential, state.within);
  }],
  ['credential mcp_oauth', async () => {
    const server = `https://${suffix}.example/mcp`;
    const refresh = {
      client_id: 'agents', token_endpoint: `${server}/token`, refresh_token: 'secret-1',
      token_endpoint_auth: { type: 'client_secret_post', client_secret: 'secret-2' },
    };
    const auth = { type: 'mcp_oauth', mcp_server_url: server, access_token: 'secret-3', refresh };
    const made = await part('beta.vaults.credentials.create')(state.vault.id, { auth });
    must(made.auth.refresh.client_id === 'agents' && !JSON.stringify(made).includes('secret-'), JSON.stringify(made));
    const change = { ...state.within, auth: { type: 'mcp_oauth', access_token: 'secret-4' } };
    const changed = await part('beta.vaults.credentials.update')(made.id, change);
    must(changed.auth.mcp_server_url === server, JSON.stringify(changed));
    state.oauth = made.id;
  }],
  ['credential environment_variable', async () => {
    const networking = { type: 'limited', allowed_hosts: ['api.example.com'] };
    const auth = { type: 'environment_variable', secret_name: 'KEY', secret_value: 'secret-1', networking };
    const made = await part('beta.vaults.credentials.create')(state.vault.id, { auth });
    must(made.auth.secret_name === 'KEY' && !JSON.stringify(made).includes('secret-'), JSON.stringify(made));
    const change = { ...state.within, auth: { type: 'environment_variable', secret_value: 'secret-2' } };
    const changed = await part('beta.vaults.credentials.update')(made.id, change);
    must(changed.auth.networking.allowed_hosts[0] === 'api.example.com', JSON.stringify(changed));
    must((await part('beta.vaults.credentials.archive')(made.id, state.within)).archived_at, 'archived_at');
  }],
  ['POST /v1/vaults/{}/credentials/{}/mcp_oauth_validate', async () => {
    const found = await part('beta.vaults.credentials.mcpOAuthValidate')(state.oauth, state.within);
    must(found.status === 'unknown' && found.has_refresh_token && found.mcp_probe === null, JSON.stringify(found));
  }],
  ['POST /v1/vaults/{}/archive', async () => {
    must((await part('beta.vaults.archive')(state.vault.id)).archived_at, 'archived_at');
  }],
  ['DELETE /v1/vaults/{}', async () => {
    await part('beta.vaults.delete')(state.vault.id);
  }],
  ['POST /v1/files', async () => {
    const file = await toFile(Buffer.from('forty-two\n'), 'in.txt', { type: 'text/plain' });
    state.file = await client.beta.files.upload({ file });
    must(state.file.size_bytes === 10, JSON.stringify(state.file));
  }],
  ['GET /v1/files/{}', async () => {
    must((await client.beta.files.retrieveMetadata(state.file.id)).filename === 'in.txt', 'filename');
  }],
  ['GET /v1/files', async () => {
    const found = await all(client.beta.files.list({ limit: 2 }));
    must(found.some((file) => file.id === state.file.id), 'listed by the pager');
  }],
  ['POST /v1/sessions', async () => {
    const session = await client.beta.sessions.create({
      agent: state.agent.id,
      environment_id: state.environment.id,
      title: 'by SDK',
      metadata: { a: '1' },
    });
    must(session.status === 'idle' && session.agent.version === 2, JSON.stringify(session));
    state.session = session.id;
  }],
  ['GET /v1/sessions/{}', async () => {
    must((await client.beta.sessions.retrieve(state.session)).title === 'by SDK', 'title');
  }],
  ['POST /v1/sessions/{}', async () => {
    const changed = await client.beta.sessions.update(state.session, { title: 'changed', metadata: { b: '2' } });
    must(changed.title === 'changed' && changed.metadata.a === '1', JSON.stringify(changed));
  }],
  ['GET /v1/sessions', async () => {
    const found = await all(client.beta.sessions.list({ limit: 2 }));
    must(found.some((session) => session.id === state.session), 'listed by the pager');
  }],
  ['POST /v1/sessions/{}/resources', async () => {
    const added = await client.beta.sessions.resources.add(state.session, {
      type: 'file',
      file_id: state.file.id,
      mount_path: 'in.txt',
    });
    state.resource = added.id;
  }],
  ['GET /v1/sessions/{}/resources/{}', async () => {
    const found = await client.beta.sessions.resources.retrieve(state.resource, { session_id: state.session });
    must(found.id === state.resource, JSON.stringify(found));
  }],
  ['GET /v1/sessions/{}/resources', async () => {
    must((await all(client.beta.sessions.resources.list(state.session))).length === 1, 'one resource');
  }],
  ['GET /v1/sessions/{}/events/stream', async () => {
    const command = 'cat /mnt/session/uploads/in.txt; echo done > /mnt/session/outputs/out.txt';
    const steps = script({ tool: 'bash', input: { command } }, { text: 'said {{last_tool_result}}' });
    if (deaf) {
      await client.beta.sessions.events.send(state.session, { events: [text(steps)] });
      await waitIdle(state.session);
      throw new Absent('session events in streams');
    }
    const stream = await client.beta.sessions.events.stream(state.session);
    await client.beta.sessions.events.send(state.session, { events: [text(steps)] });
    const seen: string[] = [];
    for await (const event of stream) {
      seen.push(event.type);
      if (event.type === 'session.status_idle') break;
    }
    must(seen.includes('agent.tool_use') && seen.includes('agent.message'), seen.join(' '));
  }],
  ['POST /v1/sessions/{}/events', async () => {
    await waitIdle(state.session);
    const sent = await client.beta.sessions.events.send(state.session, { events: [text(script({ text: 'again' }))] });
    must(sent.data[0].id.startsWith('sevt_'), JSON.stringify(sent));
    await waitIdle(state.session);
  }],
  ['GET /v1/sessions/{}/events', async () => {
    const events = await all(client.beta.sessions.events.list(state.session, { limit: 5 }));
    const words = JSON.stringify(events);
    must(words.includes('forty-two') && words.includes('again'), words.slice(-2000));
    const backwards = await all(client.beta.sessions.events.list(state.session, { limit: 5, order: 'desc' }));
    must(backwards.length === events.length && backwards[0].id === events.at(-1).id, 'both orders agree');
  }],
  ['DELETE /v1/sessions/{}/resources/{}', async () => {
    await client.beta.sessions.resources.delete(state.resource, { session_id: state.session });
    must((await all(client.beta.sessions.resources.list(state.session))).length === 0, 'none is left');
  }],
  ['GET /v1/files/{}/content', async () => {
    const deadline = Date.now() + 30_000;
    let found: any = undefined;
    while (!found) {
      must(Date.now() < deadline, 'an output file within 30 s of idle');
      const files = await all(client.beta.files.list({ scope_id: state.session }));
      found = files.find((file) => file.filename === 'out.txt');
    }
    must((await (await client.beta.files.download(found.id)).text()) === 'done\n', 'content');
  }],
  ['GET /v1/sessions/{}/threads', async () => {
    const threads = await all(part('beta.sessions.threads.list')(state.session));
    must(threads.length === 1, JSON.stringify(threads));
    state.thread = threads[0].id;
  }],
  ['GET /v1/sessions/{}/threads/{}', async () => {
    const thread = await part('beta.sessions.threads.retrieve')(state.thread, { session_id: state.session });
    must(thread.status === 'idle', JSON.stringify(thread));
  }],
  ['GET /v1/sessions/{}/threads/{}/events', async () => {
    const list = part('beta.sessions.threads.events.list');
    const events = await all(list(state.thread, { session_id: state.session, limit: 5 }));
    must(events.some((event) => event.type === 'agent.message'), 'an agent.message');
  }],
  ['GET /v1/sessions/{}/threads/{}/stream', async () => {
    const open = part('beta.sessions.threads.events.stream');
    if (deaf) throw new Absent('session events in streams');
    const stream = await open(state.thread, { session_id: state.session });
    await client.beta.sessions.events.send(state.session, { events: [text(script({ text: 'on the thread' }))] });
    for await (const event of stream) if (event.type === 'agent.message') break;
    await waitIdle(state.session);
  }],
  ['POST /v1/sessions/{}/threads/{}/archive', async () => {
    const archive = part('beta.sessions.threads.archive');
    await refused(Anthropic.BadRequestError, () => archive(state.thread, { session_id: state.session }));
  }],
  ['POST /v1/sessions/{}/resources/{}', async () => {
    const token = { session_id: state.session, authorization_token: 't' };
    await refused(Anthropic.APIError, () => client.beta.sessions.resources.update('sesrsc_none', token));
  }],
  ['error: NotFoundError', async () => {
    await refused(Anthropic.NotFoundError, () => client.beta.sessions.retrieve('sesn_none'));
  }],
  ['error: BadRequestError', async () => {
    const events = [{ type: 'user.nonsense' }];
    await refused(Anthropic.BadRequestError, () => client.beta.sessions.events.send(state.session, { events }));
  }],
  ['error: AuthenticationError', async () => {
    const stranger: any = new Anthropic({ apiKey: 'sk-wrong' });
    await refused(Anthropic.AuthenticationError, () => stranger.beta.agents.list().then((page: any) => page.data));
  }],
  ['error: ConflictError', async () => {
    const late = { version: 1, description: 'late' };
    const once = { maxRetries: 0 };
    await refused(Anthropic.ConflictError, () => client.beta.agents.update(state.agent.id, late, once));
  }],
  ['GET /v1/models', async () => {
    must((await all(client.models.list())).some((model) => model.id === 'simulated'), 'the simulated model');
  }],
  ['GET /v1/models/{}', async () => {
    must((await client.models.retrieve('simulated')).id === 'simulated', 'id');
  }],
  ['POST /v1/sessions/{}/archive', async () => {
    await waitIdle(state.session);
    must((await client.beta.sessions.archive(state.session)).status === 'terminated', 'status');
  }],
  ['DELETE /v1/sessions/{}', async () => {
    await client.beta.sessions.delete(state.session);
    await refused(Anthropic.NotFoundError, () => client.beta.sessions.retrieve(state.session));
  }],
  ['DELETE /v1/files/{}', async () => {
    await client.beta.files.delete(state.file.id);
  }],
  ['POST /v1/agents/{}/archive', async () => {
    must((await client.beta.agents.archive(state.agent.id)).archived_at, 'archived_at');
  }],
];

for (const [name, run] of checks) {
  let result: object = { name, status: 'pass' };
  try {
    await run();
  } catch (error) {
    const note = `${error}`.slice(0, 500);
    result = { name, status: error instanceof Absent ? 'absent' : 'fail', note };
  }
  console.log(JSON.stringify(result));
}
