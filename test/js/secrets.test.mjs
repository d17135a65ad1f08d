// Secrets from the client's side: sealed with libsodium so that no statement has
// them, and data that is encrypted, searched and decrypted with bound parameters.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import sodium from 'libsodium-wrappers';
import { Database } from './support.mjs';

const type = 's'.charCodeAt(0);

/** What docs/file-formats.md calls a sealed value. */
function seal(publicKey, { tenant, context, secret, at = Math.floor(Date.now() / 1000), nonce = sodium.randombytes_buf(24), kind = type, keyId, magic = 'bwb1' }) {
  const id = keyId ?? createHash('sha256').update('bulwark box key v1').update(publicKey).digest().subarray(0, 16);
  const contextBytes = Buffer.from(context, 'utf8');
  const time = Buffer.alloc(8);
  time.writeBigUInt64BE(BigInt(at));
  const length = Buffer.alloc(2);
  length.writeUInt16BE(contextBytes.length);
  const inside = Buffer.concat([Buffer.from(magic), id, Buffer.from(tenant.replaceAll('-', ''), 'hex'), Buffer.from([kind]),
    nonce, time, length, contextBytes, Buffer.from(secret)]);
  return Buffer.from(sodium.crypto_box_seal(inside, publicKey));
}

const principal = 'ca000000-0000-4000-8000-000000000001';
const tenants = ['aa000000-0000-4000-8000-000000000001', 'aa000000-0000-4000-8000-000000000002'];
let db, backend;

before(async () => {
  await sodium.ready;
  db = await Database.create();
  await db.value('SELECT bulwark.principal_create($1, id => $2)', 'boss@js.example', principal);
  for (const tenant of tenants) {
    await db.value('SELECT bulwark.tenant_create($1, $1, id => $2)', `js-${tenant.at(-1)}`, tenant);
    await db.value(`SELECT bulwark.membership_grant($1, $2, 'tenant_admin')`, principal, tenant);
  }
  const role = `${db.login}_backend`;
  await db.admin.query(`CREATE ROLE ${role} LOGIN PASSWORD '${db.password}' IN ROLE bulwark_impersonator, bulwark_secrets`);
  db.roles.push(role);
  await db.admin.query(`CREATE TABLE kept (id text PRIMARY KEY, secret bulwark.secret, name bulwark.encrypted_text, name_index bytea)`);
  await db.admin.query(`CREATE INDEX ON kept (name_index)`);
  await db.admin.query(`GRANT ALL ON kept TO ${role}`);
  backend = await db.connect({ user: role, password: db.password });
});
after(() => db?.drop());

/** One transaction in a tenant. */
async function acting(tenant, work) {
  await backend.query('BEGIN');
  try {
    await backend.query('SELECT bulwark.assume($1, $2)', [principal, tenant]);
    const result = await work();
    await backend.query('COMMIT');
    return result;
  } catch (error) {
    await backend.query('ROLLBACK');
    throw error;
  }
}
const value = async (sql, ...values) => Object.values((await backend.query(sql, values)).rows[0])[0];
const publicKey = tenant => acting(tenant, () => value('SELECT bulwark.tenant_public_key()'));
const take = (tenant, sealed, context) => acting(tenant, () => value('SELECT bulwark.encrypt_sealed($1, $2)', sealed, context));
const refused = promise => assert.rejects(promise, error => {
  assert.equal(error.code, '22023', error.message);
  assert.equal(error.message, 'the sealed value is refused');
  assert.equal(error.detail, undefined);
  return true;
});

describe('sealed by the client', () => {
  const [a, b] = tenants;
  const context = 'kept.secret:stripe';
  const secret = 'sk_live_Grüße';

  test('a sealed secret becomes a value that opens to it, under its context', async () => {
    const sealed = seal(await publicKey(a), { tenant: a, context, secret });
    const made = await take(a, sealed, context);
    assert.match(made, /^bw1:[\w-]+$/);
    assert.equal(await acting(a, () => value('SELECT bulwark.decrypt($1, $2, $3)', made, 'test', context)), secret);
    await assert.rejects(acting(a, () => value('SELECT bulwark.decrypt($1, $2)', made, 'test')), { code: '22023' });
  });

  test('S18: it is taken once', async () => {
    const sealed = seal(await publicKey(a), { tenant: a, context, secret });
    await take(a, sealed, context);
    await refused(take(a, sealed, context));
  });

  test('S18: a nonce is taken once, whatever it comes with', async () => {
    const nonce = sodium.randombytes_buf(24);
    const key = await publicKey(a);
    await take(a, seal(key, { tenant: a, context, secret, nonce }), context);
    await refused(take(a, seal(key, { tenant: a, context, secret: 'another', nonce }), context));
  });

  test('S18: what was taken in a transaction that rolled back was not taken', async () => {
    const sealed = seal(await publicKey(a), { tenant: a, context, secret });
    await assert.rejects(acting(a, async () => {
      await value('SELECT bulwark.encrypt_sealed($1, $2)', sealed, context);
      await value('SELECT 1 / 0');
    }), { code: '22012' });
    assert.match(await take(a, sealed, context), /^bw1:/);
  });

  test('S18: two at once: one of them', async () => {
    const sealed = seal(await publicKey(a), { tenant: a, context, secret });
    const other = await db.connect({ user: `${db.login}_backend`, password: db.password });
    await other.query('BEGIN');
    await other.query('SELECT bulwark.assume($1, $2)', [principal, a]);
    await other.query('SELECT bulwark.encrypt_sealed($1, $2)', [sealed, context]);
    const second = refused(take(a, sealed, context));
    await db.until('SELECT cardinality(pg_blocking_pids($1)) > 0', backend.processID);
    await Promise.all([second, other.query('COMMIT')]);
  });

  test('S18: another context, type or tenant, an old or altered one: refused, all alike', async () => {
    const key = await publicKey(a);
    const good = { tenant: a, context, secret };
    const time = Math.floor(Date.now() / 1000);
    await refused(take(a, seal(key, good), 'kept.secret:other'));
    await refused(take(a, seal(key, good), ''));
    await refused(take(a, seal(key, { ...good, kind: 't'.charCodeAt(0) }), context));
    await refused(take(a, seal(key, { ...good, tenant: b }), context));
    await refused(take(b, seal(key, { ...good, tenant: b }), context));
    await refused(take(b, seal(key, good), context));
    await refused(take(a, seal(key, { ...good, at: time - 700 }), context));
    await refused(take(a, seal(key, { ...good, at: time + 120 }), context));
    await refused(take(a, seal(key, { ...good, magic: 'bwb2' }), context));
    await refused(take(a, seal(key, { ...good, secret: Buffer.from([0xff, 0xfe]) }), context));
    await refused(take(a, seal(key, { ...good, secret: 'NUL \0 in it' }), context));
    for (const at of [0, 31, 32, 48, 100]) {
      const altered = seal(key, good);
      altered[at] ^= 1;
      await refused(take(a, altered, context));
    }
    for (const length of [0, 1, 47, 48, 60, 119]) await refused(take(a, seal(key, good).subarray(0, length), context));
    await refused(take(a, Buffer.from(sodium.crypto_box_seal(Buffer.from('bwb1'), key)), context));
  });

  test('S18: to a public key that has been retired: refused; to the new one: taken', async () => {
    const old = await publicKey(b);
    const sealed = seal(old, { tenant: b, context, secret });
    await db.value(`SELECT bulwark.tenant_key_rotate($1, 'box')`, b);
    const now = await publicKey(b);
    assert.notDeepEqual(now, old);
    await refused(take(b, sealed, context));
    await refused(take(b, seal(old, { tenant: b, context, secret }), context));
    await refused(take(b, seal(old, { tenant: b, context, secret, keyId: createHash('sha256').update('bulwark box key v1').update(now).digest().subarray(0, 16) }), context));
    assert.match(await take(b, seal(now, { tenant: b, context, secret }), context), /^bw1:/);
  });

  test('S18: a substituted public key: refused', async () => {
    const { publicKey: theirs } = sodium.crypto_box_keypair();
    await refused(take(a, seal(theirs, { tenant: a, context, secret }), context));
    const key = await publicKey(a);
    const keyId = createHash('sha256').update('bulwark box key v1').update(theirs).digest().subarray(0, 16);
    await refused(take(a, seal(key, { tenant: a, context, secret, keyId }), context));
  });
});

describe('data with bound parameters', () => {
  const [a] = tenants;

  test('is encrypted, found by its blind index, and decrypted', async () => {
    await acting(a, () => backend.query({ name: 'put', text:
      `INSERT INTO kept (id, name, name_index) SELECT n, bulwark.encrypt_text(n, 'kept.name:' || n), bulwark.blind_index(n, 'kept.name') FROM unnest($1::text[]) n`,
      values: [['anna', 'björn', 'cécile']] }));
    const { rows } = await acting(a, () => backend.query({ name: 'find',
      text: `SELECT id, bulwark.decrypt_text(name, 'kept.name:' || id) AS name FROM kept WHERE name_index = bulwark.blind_index($1, 'kept.name')`,
      values: ['bjo\u0308rn'] }));
    assert.deepEqual(rows, [{ id: 'björn', name: 'björn' }]);
  });

  test('S5: what a driver reads and writes of the column is ciphertext', async () => {
    const { rows: [{ name }] } = await backend.query(`SELECT name FROM kept WHERE id = 'anna'`);
    assert.match(name, /^bw1:/);
    await backend.query('UPDATE kept SET name = $1 WHERE id = $2', [name, 'anna']);
    await assert.rejects(backend.query('UPDATE kept SET name = $1 WHERE id = $2', ['anna in the clear', 'anna']), error => {
      assert.equal(error.code, '22P02');
      assert.doesNotMatch(JSON.stringify(error), /in the clear/);
      return true;
    });
  });
});
