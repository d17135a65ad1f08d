// What the tests share: a database of their own with an application login, and
// tokens, genuine ones by jose and raw ones that jose would not make.
import { randomBytes, randomUUID, sign as signBytes } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import assert from 'node:assert/strict';
import * as jose from 'jose';
import pg from 'pg';

export const now = () => Math.floor(Date.now() / 1000);
export const b64 = bytes => Buffer.from(bytes).toString('base64url');

/** A fresh database with bulwark; the server is that of the PG* variables. */
export class Database {
  /** load: what fills it before the extension comes. */
  static async create(load = () => {}) {
    const self = new this();
    const suffix = randomBytes(6).toString('hex');
    self.name = `bulwark_js_${suffix}`;
    self.login = `bulwark_js_app_${suffix}`;
    self.password = randomBytes(16).toString('hex');
    self.roles = [self.login];
    self.clients = [];
    self.maintenance = await self.connect({ database: process.env.PGDATABASE ?? 'postgres' });
    await self.maintenance.query(`CREATE DATABASE ${self.name}`);
    self.admin = await self.connect();
    await load(self);
    await self.admin.query('CREATE EXTENSION bulwark');
    await self.admin.query(`CREATE ROLE ${self.login} LOGIN PASSWORD '${self.password}' IN ROLE bulwark_app`);
    return self;
  }

  async connect(options = {}) {
    const client = new pg.Client({ database: this.name, ...options });
    client.on('error', () => {});
    await client.connect();
    this.clients.push(client);
    return client;
  }

  /** A session of the application login. */
  app(options = {}) {
    return this.connect({ user: this.login, password: this.password, ...options });
  }

  /** Not to be ended by drop(): it has ended already. */
  forget(client) {
    this.clients = this.clients.filter(c => c !== client);
  }

  async drop() {
    for (const client of this.clients.filter(c => c !== this.maintenance)) await client.end();
    await this.maintenance.query(`DROP DATABASE ${this.name} WITH (FORCE)`);
    await this.maintenance.query(`DROP ROLE ${this.roles.join(', ')}`);
    await this.maintenance.end();
  }

  /** The first column of the first row, as the superuser. */
  async value(sql, ...values) {
    const { rows, fields } = await this.admin.query(sql, values);
    return rows[0]?.[fields[0].name];
  }

  /** Waits until that is true. */
  async until(sql, ...values) {
    for (let left = 1000; !await this.value(sql, ...values); left--) {
      assert.ok(left > 0, `never true: ${sql}`);
      await new Promise(resolve => setTimeout(resolve, 20));
    }
  }

  tenant(slug, options = {}) {
    return this.value('SELECT bulwark.tenant_create($1, $1, key => $2, id => $3)', slug, options.key ?? null, options.id ?? null);
  }

  /** A principal with roles, {tenant id: role}, linked to [[issuer, subject]]. */
  async principal(email, roles, links) {
    const id = await this.value('SELECT bulwark.principal_create($1)', email);
    for (const [tenant, role] of Object.entries(roles))
      await this.value('SELECT bulwark.membership_grant($1, $2, $3)', id, tenant, role);
    for (const [issuer, subject] of links)
      await this.value('SELECT bulwark.principal_link($1, $2, $3)', id, issuer, subject);
    return id;
  }

  /** issuer_create with named optional arguments. */
  issuer(issuer, audience, jwks, options = {}) {
    const types = {
      algorithms: 'text[]', tenant_claim: 'text', subject_claim: 'text', tenant_ids: 'uuid[]', tenant_claim_is: 'text',
      typ: 'text[]', required_claims: 'jsonb', max_lifetime: 'interval', scope_claim: 'text', id_tokens: 'boolean',
    };
    const names = Object.keys(options);
    const named = names.map((name, i) => `, ${name} => $${i + 4}::${types[name]}`).join('');
    return this.value(`SELECT bulwark.issuer_create($1, $2, $3::jsonb${named})`, issuer, audience, JSON.stringify(jwks),
      ...names.map(name => name === 'required_claims' ? JSON.stringify(options[name]) : options[name]));
  }

  setKeys(issuer, jwks) {
    return this.value('SELECT bulwark.issuer_set_jwks($1, $2::jsonb)', issuer, JSON.stringify(jwks));
  }
}

/** Run in a transaction that is rolled back. */
export async function transaction(client, work) {
  await client.query('BEGIN');
  try {
    return await work(client);
  } finally {
    await client.query('ROLLBACK');
  }
}

export const authenticate = (client, token) => transaction(client, async () =>
  (await client.query('SELECT bulwark.authenticate($1) AS identity', [token])).rows[0].identity);

/** What the server has logged while work ran; empty where its log is not known. */
async function logged(work) {
  if (!process.env.BULWARK_LOG) {
    await work();
    return null;
  }
  const fd = openSync(process.env.BULWARK_LOG, 'r');
  try {
    const start = fstatSync(fd).size;
    await work();
    const text = Buffer.alloc(fstatSync(fd).size - start);
    readSync(fd, text, 0, text.length, start);
    return text.toString();
  } finally {
    closeSync(fd);
  }
}

/**
 * The one answer to every refused token: 28000 and no detail; the cause is in
 * the server's log, and the token is not.
 */
export async function refused(client, token, cause) {
  const log = await logged(() => assert.rejects(authenticate(client, token), error => {
    assert.equal(error.code, '28000');
    assert.equal(error.message, 'token or ticket refused');
    assert.equal(error.detail, undefined);
    assert.equal(error.hint, undefined);
    return true;
  }));
  if (log === null) return;
  assert.match(log, cause);
  if (token.length > 20) assert.ok(!log.includes(token), 'the token is not in the log');
}

/** Keys of an issuer: makes a pair for alg; jwk is public (symmetric: the secret). */
export async function makeKey(alg, { kid = randomUUID(), ...options } = {}) {
  if (alg.startsWith('HS')) {
    const secret = randomBytes(Number(alg.slice(2)) / 8);
    return { alg, kid, key: secret, jwk: { kty: 'oct', k: b64(secret), alg, kid } };
  }
  const pair = await jose.generateKeyPair(alg, { extractable: true, ...options });
  return { alg, kid, key: pair.privateKey, jwk: { ...await jose.exportJWK(pair.publicKey), alg, kid, use: 'sig' } };
}

/** A token by jose: any payload, a header of our choice. */
export function sign({ key, alg, kid }, claims, header = {}) {
  const payload = typeof claims === 'string' || claims instanceof Uint8Array ? claims : JSON.stringify(claims);
  return new jose.CompactSign(Buffer.from(payload)).setProtectedHeader({ alg, kid, ...header }).sign(key);
}

/** A token with an arbitrary header, genuinely signed with ES256. */
export function signRaw({ key }, header, payload) {
  const input = `${b64(header)}.${b64(payload)}`;
  return `${input}.${b64(signBytes('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' }))}`;
}
