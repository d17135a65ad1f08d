// Credentials from the client's side: docs/credentials.md's rotation in five steps,
// against a service that really checks the key, and what each role may do with it.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { Provider, request } from './provider.mjs';
import { Database } from './support.mjs';

const tenant = 'ab000000-0000-4000-8000-000000000001';
const other = 'ab000000-0000-4000-8000-000000000002';
const people = {
  boss: 'cb000000-0000-4000-8000-000000000001',
  admin: 'cb000000-0000-4000-8000-000000000002',
  reader: 'cb000000-0000-4000-8000-000000000003',
  stranger: 'cb000000-0000-4000-8000-000000000004',
};
let db, web, service, crm;

before(async () => {
  db = await Database.create();
  for (const [name, id] of Object.entries(people)) await db.value('SELECT bulwark.principal_create($1, id => $2)', `${name}@cred.example`, id);
  for (const [slug, id] of [['cred-a', tenant], ['cred-b', other]]) await db.tenant(slug, { id });
  const unit = await db.value(`SELECT bulwark.affiliation_create($1, 'unit', 'Unit')`, tenant);
  for (const [name, at, role, affiliation] of [['boss', tenant, 'tenant_admin', null], ['admin', tenant, 'admin', unit],
    ['reader', tenant, 'read_only', null], ['stranger', other, 'tenant_admin', null]])
    await db.value('SELECT bulwark.membership_grant($1, $2, $3, $4)', people[name], at, role, affiliation);
  for (const [suffix, roles] of [['web', 'bulwark_impersonator'], ['service', 'bulwark_impersonator, bulwark_secrets']]) {
    await db.admin.query(`CREATE ROLE ${db.login}_${suffix} LOGIN PASSWORD '${db.password}' IN ROLE ${roles}`);
    db.roles.push(`${db.login}_${suffix}`);
  }
  web = await db.connect({ user: `${db.login}_web`, password: db.password });
  service = await db.connect({ user: `${db.login}_service`, password: db.password });
  crm = await Service.start();
});
after(async () => {
  crm?.server.close();
  await db?.drop();
});

/** Somebody else's service, which knows the keys that it has issued. */
class Service {
  issued = new Set();

  static async start() {
    const self = new this();
    self.server = createServer((request, response) => {
      response.writeHead(self.issued.has(request.headers.authorization?.replace('Bearer ', '')) ? 200 : 401);
      response.end();
    });
    await new Promise(resolve => self.server.listen(0, '127.0.0.1', resolve));
    return self;
  }

  async call(key) {
    const { status } = await fetch(`http://127.0.0.1:${this.server.address().port}/`, { headers: { authorization: `Bearer ${key}`, connection: 'close' } });
    return status;
  }
}

/** One transaction of a login, as somebody in a tenant. */
async function acting(client, name, work, { at = tenant, end = 'COMMIT' } = {}) {
  await client.query('BEGIN');
  try {
    await client.query('SELECT bulwark.assume($1, $2)', [people[name], at]);
    const result = await work();
    await client.query(end);
    return result;
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  }
}
const value = async (client, sql, ...values) => Object.values((await client.query(sql, values)).rows[0])[0];
const manage = (name, sql, ...values) => acting(web, name, () => value(web, sql, ...values));
// a prepared statement that stays, as drivers and pools keep them
const use = (purpose, version = null, name = 'crm', options = {}) => acting(service, 'reader', async () => Object.values((await service.query({
  name: 'use', text: 'SELECT bulwark.credential_use($1, $2, version => $3)', values: [name, purpose, version] })).rows[0])[0], options);
const rejects = (promise, code) => assert.rejects(promise, error => {
  assert.equal(error.code, code, error.message);
  assert.doesNotMatch(JSON.stringify(error) + error.message, /key-\d|not shown to anybody/);
  return true;
});
const versions = async (name, who = web, credential = 'crm') => (await acting(who, name, () => who.query(
  'SELECT version, state, reason FROM bulwark.credentials WHERE name = $1 ORDER BY version', [credential]))).rows;
const entries = async (condition, ...values) => (await db.admin.query(
  `SELECT action, db_role, metadata FROM bulwark.ledger WHERE entity_type = 'credential' AND ${condition} ORDER BY entry_id`, values)).rows;

describe('rotation in five steps', () => {
  let id;

  before(async () => {
    crm.issued.add('key-1');
    id = await manage('boss', `SELECT bulwark.credential_create('crm', 'api_key', $1)`, 'key-1');
    assert.equal(await crm.call(await use('before')), 200);
  });

  test('1. create: the new value there and here; the new version is active, the old one retiring', async () => {
    crm.issued.add('key-2');
    assert.equal(await manage('admin', `SELECT bulwark.credential_rotate($1, $2, overlap => '1 day')`, id, 'key-2'), 2);
    assert.deepEqual(await versions('boss'), [{ version: 1, state: 'retiring', reason: null }, { version: 2, state: 'active', reason: null }]);
  });

  test('2. update: who asks for each use has the new value; who has the old one goes on', async () => {
    assert.equal(await use('sync'), 'key-2');
    const old = await use('a process not restarted yet', 1);
    assert.equal(old, 'key-1');
    assert.equal(await crm.call(old), 200);
  });

  test('3. test: the new version works at the service', async () => {
    assert.equal(await crm.call(await use('test of the rotation', 2)), 200);
  });

  test('3. where the test fails, the new version is revoked and the one before is active again', async () => {
    assert.equal(await manage('boss', `SELECT bulwark.credential_rotate($1, $2, overlap => '1 day')`, id, 'key-3 with a typing error'), 3);
    assert.equal(await crm.call(await use('test of the rotation', 3)), 401);
    await manage('boss', `SELECT bulwark.credential_revoke($1, 'does not work', version => 3)`, id);
    assert.equal(await use('sync'), 'key-2');
    assert.deepEqual((await versions('boss')).slice(1), [{ version: 2, state: 'active', reason: null }, { version: 3, state: 'revoked', reason: 'does not work' }]);
  });

  test('S13: 4. revoke: the old version is refused here and there, its value is gone, the new one goes on', async () => {
    await manage('boss', `SELECT bulwark.credential_revoke($1, 'rotated', version => 1)`, id);
    crm.issued.delete('key-1');
    await rejects(use('a process not restarted yet', 1), '55000');
    assert.equal(await crm.call('key-1'), 401);
    assert.equal(await crm.call(await use('sync')), 200);
    assert.deepEqual((await db.admin.query('SELECT version, value IS NULL AS gone FROM bulwark_internal.credential_versions WHERE credential_id = $1 ORDER BY 1', [id])).rows,
      [{ version: 1, gone: true }, { version: 2, gone: false }, { version: 3, gone: true }]);
    await rejects(manage('boss', `SELECT bulwark.credential_revoke($1, 'again', version => 1)`, id), '42704');
  });

  test('5. monitor: the uses of the old version, and the attempt after its end, with who made them', async () => {
    const { rows } = await acting(web, 'boss', () => web.query(
      `SELECT occurred_at, action, db_role, metadata FROM bulwark.ledger WHERE entity_type = 'credential' AND entity_id = $1 ORDER BY entry_id`, [id]));
    const uses = rows.filter(row => row.action === 'decrypt');
    assert.deepEqual(uses.map(row => [row.metadata.version, row.metadata.purpose]), [['1', 'before'], ['2', 'sync'], ['1', 'a process not restarted yet'],
      ['2', 'test of the rotation'], ['3', 'test of the rotation'], ['2', 'sync'], ['2', 'sync']]);
    assert.ok(uses.every(row => row.db_role === `${db.login}_service`));
    assert.deepEqual(rows.filter(row => row.action === 'configuration').map(row => row.metadata.operation),
      ['credential_create', 'credential_rotate', 'credential_rotate', 'credential_revoke', 'credential_revoke']);
    assert.doesNotMatch(JSON.stringify(rows), /key-\d/);
    let denied = [];
    for (let i = 0; i < 200 && denied.length === 0; i++) {
      denied = await entries(`action = 'denied' AND entity_id = $1`, id);
      if (denied.length === 0) await new Promise(resolve => setTimeout(resolve, 100));
    }
    assert.deepEqual(denied.map(row => row.metadata.state), ['revoked']);
  });

  test('the old version ends by itself when the overlap does', async () => {
    crm.issued.add('key-4');
    await manage('boss', `SELECT bulwark.credential_rotate($1, $2, overlap => '1 microsecond')`, id, 'key-4');
    await rejects(use('late', 2), '55000');
    assert.equal(await crm.call(await use('sync')), 200);
  });

  test('revoked altogether: refused in every way, to a statement prepared before too; the name is free', async () => {
    await manage('boss', `SELECT bulwark.credential_revoke($1, 'the contract has ended')`, id);
    for (const version of [null, 1, 2, 3, 4]) await rejects(use('sync', version), '55000');
    await rejects(manage('boss', `SELECT bulwark.credential_rotate($1, $2)`, id, 'key-5'), '55000');
    assert.ok((await versions('boss')).every(row => row.state === 'revoked'));
    assert.notEqual(await manage('boss', `SELECT bulwark.credential_create('crm', 'api_key', $1)`, 'key-6'), id);
    assert.equal(await use('sync'), 'key-6');
  });
});

describe('roles', () => {
  let id;
  const all = ['kind', 'honey', 'rotate_every', 'created_at', 'created_by', 'rotation_due', 'last_used_at', 'retires_at', 'revoked_at', 'reason'];
  const seen = name => acting(web, name, () => web.query(`SELECT * FROM bulwark.credentials WHERE name = 'mail' ORDER BY version`));

  before(async () => {
    id = await manage('admin', `SELECT bulwark.credential_create('mail', 'password', $1, rotate_every => '30 days')`, 'not shown to anybody');
  });

  test('tenant_admin and admin manage, and see everything but values', async () => {
    for (const name of ['boss', 'admin']) {
      const { rows: [row] } = await seen(name);
      assert.equal(row.kind, 'password');
      assert.ok(row.rotation_due > row.created_at);
      assert.doesNotMatch(JSON.stringify(row), /not shown|bw1:/);
      const made = await manage(name, `SELECT bulwark.credential_create($1, 'api_key', 'x')`, `of ${name}`);
      assert.equal(await manage(name, 'SELECT bulwark.credential_rotate($1, $2)', made, 'y'), 2);
      await manage(name, `SELECT bulwark.credential_revoke($1, 'test')`, made);
    }
  });

  test('read_only sees names, versions and states, and no more', async () => {
    const { rows: [row] } = await seen('reader');
    assert.deepEqual([row.name, row.version, row.state], ['mail', 1, 'active']);
    for (const column of all) assert.equal(row[column], null, column);
  });

  test('read_only manages nothing', async () => {
    await rejects(manage('reader', `SELECT bulwark.credential_create('x', 'api_key', 'x')`), '42501');
    await rejects(manage('reader', `SELECT bulwark.credential_rotate($1, 'x')`, id), '42501');
    await rejects(manage('reader', `SELECT bulwark.credential_revoke($1, 'x')`, id), '42501');
    await rejects(manage('reader', `SELECT bulwark.credential_freeze($1, 'x')`, tenant), '42501');
    await rejects(manage('reader', `SELECT bulwark.credential_unfreeze($1, 'x')`, tenant), '42501');
    assert.equal((await versions('boss', web, 'mail'))[0].state, 'active');
  });

  test('nobody uses one but a login of bulwark_secrets, whoever it acts for', async () => {
    for (const name of ['boss', 'admin', 'reader'])
      await rejects(acting(web, name, () => web.query(`SELECT bulwark.credential_use('mail', 'test')`)), '42501');
    const app = await db.app();
    await rejects(app.query(`SELECT bulwark.credential_use('mail', 'test')`), '42501');
    assert.equal(await use('test', null, 'mail'), 'not shown to anybody');
    await rejects(service.query(`SELECT bulwark.credential_use('mail', 'without an identity')`), '28000');
    await rejects(use('', null, 'mail'), '22023');
  });

  test("another tenant's administrator sees nothing, and manages and uses nothing", async () => {
    assert.deepEqual((await acting(web, 'stranger', () => web.query('SELECT * FROM bulwark.credentials'), { at: other })).rows, []);
    for (const sql of [`bulwark.credential_rotate($1, 'x')`, `bulwark.credential_revoke($1, 'x')`])
      await rejects(acting(web, 'stranger', () => web.query(`SELECT ${sql}`, [id]), { at: other }), '42704');
    await rejects(acting(web, 'stranger', () => web.query(`SELECT bulwark.credential_freeze($1, 'x')`, [tenant]), { at: other }), '42501');
    await rejects(acting(service, 'stranger', () => service.query(`SELECT bulwark.credential_use('mail', 'steal')`), { at: other }), '42704');
  });

  test('frozen: refused, until it is unfrozen', async () => {
    await manage('boss', `SELECT bulwark.credential_freeze($1, 'incident')`, tenant);
    await rejects(use('test', null, 'mail'), '55000');
    assert.deepEqual(await versions('boss', web, 'mail'), [{ version: 1, state: 'frozen', reason: 'incident' }]);
    await manage('boss', `SELECT bulwark.credential_unfreeze($1, 'over')`, tenant);
    assert.equal(await use('test', null, 'mail'), 'not shown to anybody');
  });
});

describe('honey', () => {
  test('its use is answered like any other, and is an alarm on disk when the answer comes, whatever becomes of the transaction', async () => {
    const id = await manage('boss', `SELECT bulwark.credential_create('root password', 'password', $1, honey => true)`, 'not shown to anybody');
    assert.deepEqual(await entries(`action = 'alarm' AND entity_id = $1`, id), []);
    assert.equal(await use('curious', null, 'root password', { end: 'ROLLBACK' }), 'not shown to anybody');
    const alarms = await entries(`action IN ('alarm', 'decrypt') AND entity_id = $1`, id);
    assert.deepEqual(alarms.map(row => row.action).sort(), ['alarm', 'decrypt']);
    const { metadata } = alarms.find(row => row.action === 'alarm');
    assert.deepEqual([metadata.alarm, metadata.login, metadata.purpose], ['honey', `${db.login}_service`, 'curious']);
  });

  test('S15: bulwark_admin and proved managers see which ones are honey; who uses them, or assumes whom it likes, does not', async () => {
    const query = `SELECT honey FROM bulwark.credentials WHERE name = 'root password'`;
    const provider = await Provider.create(db);
    const keeper = await provider.person([tenant, 'tenant_admin']);
    const viewer = await provider.person([tenant, 'read_only']);
    const proved = async (client, who) => request(client, await provider.token(who, 'cred-a'), () => value(client, query));
    const app = await db.app();
    assert.equal(await db.value(query), true);
    assert.equal(await proved(app, keeper), true);
    assert.equal(await proved(app, viewer), null);
    for (const client of [web, service])
      for (const name of ['boss', 'reader']) assert.equal(await acting(client, name, () => value(client, query)), null);
    await db.admin.query(`GRANT bulwark_secrets TO ${db.login}_web`);
    assert.equal(await acting(web, 'boss', () => value(web, query)), null);
    await db.admin.query(`REVOKE bulwark_secrets FROM ${db.login}_web`);
  });

  test('S15: no purpose hides the alarm, and no flood of one the alarm of another', async () => {
    const ids = [];
    for (const name of ['trap 1', 'trap 2'])
      ids.push(await manage('boss', `SELECT bulwark.credential_create($1, 'password', 'not shown to anybody', honey => true)`, name));
    const alarms = async id => {
      await db.value('SELECT bulwark.ledger_seal()');
      return (await entries(`action = 'alarm' AND entity_id = $1`, id)).map(({ metadata }) => metadata);
    };
    await rejects(use('x'.repeat(9000), null, 'trap 1'), '22023');
    const [first] = await alarms(ids[0]);
    assert.equal(first.alarm, 'honey');
    assert.match(first.purpose, /^x{2000}\.\.\. \(9000 bytes, SHA-256 [0-9a-f]{64}\)$/);
    await acting(service, 'reader', () => service.query(`DO $$ BEGIN FOR i IN 1 .. 150 LOOP
      BEGIN PERFORM bulwark.credential_use('trap 1', NULL); EXCEPTION WHEN invalid_parameter_value THEN NULL; END; END LOOP; END $$`));
    await rejects(use(null, null, 'trap 2'), '22023');
    assert.deepEqual((await alarms(ids[1])).map(({ alarm }) => alarm), ['honey']);
  });

  test('S15: an attempt that is refused, since it is frozen or revoked, is an alarm too', async () => {
    const id = await manage('boss', `SELECT bulwark.credential_create('backup', 'password', $1, honey => true)`, 'not shown to anybody');
    const refused = async purpose => {
      await rejects(use(purpose, null, 'backup'), '55000');
      await db.value('SELECT bulwark.ledger_seal()');
      const found = (await entries(`action IN ('alarm', 'denied') AND entity_id = $1`, id)).slice(-2);
      assert.deepEqual(found.map(row => row.action).sort(), ['alarm', 'denied']);
      assert.equal(found.find(row => row.action === 'alarm').metadata.purpose, purpose);
    };
    await manage('boss', `SELECT bulwark.credential_freeze($1, 'incident')`, tenant);
    await refused('while it is frozen');
    await manage('boss', `SELECT bulwark.credential_unfreeze($1, 'over')`, tenant);
    await manage('boss', `SELECT bulwark.credential_revoke($1, 'a trap still')`, id);
    await refused('when it is revoked');
  });
});
