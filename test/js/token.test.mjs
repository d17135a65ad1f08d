// Tokens as identity providers make them, and as attackers do, against
// bulwark.authenticate() in a session of an application login.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import * as jose from 'jose';
import { Database, authenticate, b64, makeKey, now, refused, sign, signRaw, transaction } from './support.mjs';

const ISSUER = 'https://idp.example/';
const AUDIENCE = 'https://api.example/';
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'HS256', 'HS384', 'HS512'];

let db, app, key, acme, globex, ann;

/** What a good access token says; undefined takes a claim away. */
const claims = (more = {}) => ({
  iss: ISSUER, aud: AUDIENCE, sub: 'ann', tenant: 'acme', iat: now(), exp: now() + 300, ...more,
});
const token = (more, header) => sign(key, claims(more), header);
const keySet = (...keys) => ({ keys: keys.map(k => k.jwk) });

before(async () => {
  db = await Database.create();
  app = await db.app();
  key = await makeKey('ES256');
  await db.issuer(ISSUER, AUDIENCE, keySet(key));
  acme = await db.tenant('acme', { key: '42' });
  globex = await db.tenant('globex');
  ann = await db.principal('ann@acme.example', { [acme]: 'tenant_admin' }, [[ISSUER, 'ann']]);
});
after(() => db?.drop());

describe('algorithms', () => {
  for (const alg of ALGORITHMS)
    test(`${alg} proves an identity`, async () => {
      const issuer = `https://${alg}.example`;
      const k = await makeKey(alg);
      await db.issuer(issuer, AUDIENCE, keySet(k), { algorithms: [alg] });
      await db.value('SELECT bulwark.principal_link($1, $2, $3)', ann, issuer, 'ann');
      const identity = await authenticate(app, await sign(k, claims({ iss: issuer })));
      assert.equal(identity.principal_id, ann);
      assert.equal(identity.tenant_id, acme);
      assert.equal(identity.proof, 'token');
      const other = await makeKey(alg, { kid: k.kid });
      await refused(app, await sign(other, claims({ iss: issuer })), /the signature does not verify/);
    });

  test('Ed448 proves an identity as EdDSA', async () => {
    const k = await makeKey('EdDSA', { crv: 'Ed448' });
    await db.issuer('https://ed448.example', AUDIENCE, keySet(k));
    await db.value('SELECT bulwark.principal_link($1, $2, $3)', ann, 'https://ed448.example', 'ann');
    assert.equal((await authenticate(app, await sign(k, claims({ iss: 'https://ed448.example' })))).principal_id, ann);
  });

  test('without a kid, the only key that fits', async () => {
    const rsa = await makeKey('RS256');
    const ec = await makeKey('ES256');
    const strip = ({ jwk: { kid, ...jwk } }) => jwk;
    await db.issuer('no-kid', AUDIENCE, { keys: [strip(rsa), strip(ec)] });
    await db.value('SELECT bulwark.principal_link($1, $2, $3)', ann, 'no-kid', 'ann');
    for (const k of [rsa, ec])
      assert.equal((await authenticate(app, await sign({ ...k, kid: undefined }, claims({ iss: 'no-kid' })))).principal_id, ann);
    await refused(app, await sign(rsa, claims({ iss: 'no-kid' })), /no key.*fits/);
  });
});

describe('keys change', () => {
  const issuer = 'https://rotating.example/';
  let first, second, session;
  const ticket = (client, t) => transaction(client, async () => {
    await client.query('SELECT bulwark.authenticate($1)', [t]);
    return (await client.query('SELECT bulwark.ticket_issue() AS t')).rows[0].t;
  });
  const present = (client, t) => transaction(client, async () => {
    await client.query("SELECT set_config('bulwark.ticket', $1, true)", [t]);
    return (await client.query('SELECT bulwark.principal_id() AS id')).rows[0].id;
  });
  const ticketRefused = (client, t) => assert.rejects(present(client, t), { code: '28000', message: 'token or ticket refused' });

  before(async () => {
    [first, second] = [await makeKey('ES256'), await makeKey('EdDSA')];
    await db.issuer(issuer, AUDIENCE, keySet(first));
    await db.value('SELECT bulwark.principal_link($1, $2, $3)', ann, issuer, 'ann');
    session = await db.app();
  });

  test('I36: a removed kid proves nothing any more, nor does its ticket, also when it comes back', async () => {
    const old = await sign(first, claims({ iss: issuer }));
    const renewed = await sign(second, claims({ iss: issuer }));
    const oldTicket = await ticket(session, old);
    assert.equal(await present(session, oldTicket), ann);
    await refused(session, renewed, /no key.*fits/);

    await db.setKeys(issuer, keySet(first, second));
    assert.equal((await authenticate(session, old)).principal_id, ann);
    assert.equal((await authenticate(session, renewed)).principal_id, ann);
    assert.equal(await present(session, oldTicket), ann);

    await db.setKeys(issuer, keySet(second));
    await refused(session, old, /no key.*fits/);
    await ticketRefused(session, oldTicket);
    assert.equal((await authenticate(session, renewed)).principal_id, ann);

    await db.setKeys(issuer, keySet(first, second));
    assert.equal((await authenticate(session, old)).principal_id, ann);
    await ticketRefused(session, oldTicket);
  });

  for (const level of ['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'])
    test(`a key removed during a ${level} transaction: its next statement sees nothing`, async () => {
      await db.setKeys(issuer, keySet(first, second));
      await transaction(session, async () => {
        await session.query(`SET TRANSACTION ISOLATION LEVEL ${level}`);
        await session.query('SELECT bulwark.authenticate($1)', [await sign(first, claims({ iss: issuer }))]);
        assert.equal((await session.query('SELECT bulwark.principal_id() AS id')).rows[0].id, ann);
        await db.setKeys(issuer, keySet(second));
        assert.equal((await session.query('SELECT bulwark.principal_id() AS id')).rows[0].id, null);
      });
    });

  test('a key removed in a transaction that is rolled back stays', async () => {
    await transaction(db.admin, () => db.setKeys(issuer, keySet(first)));
    assert.equal((await authenticate(session, await sign(second, claims({ iss: issuer })))).principal_id, ann);
  });

  test('I36: a ticket of a ticket, a hundred times, ends with the token and says how it was proved', async () => {
    const exp = now() + 90;
    let t = await ticket(session, await sign(second, claims({ iss: issuer, exp })));
    for (let i = 0; i < 100; i++)
      t = await transaction(session, async () => {
        await session.query("SELECT set_config('bulwark.ticket', $1, true)", [t]);
        return (await session.query("SELECT bulwark.ticket_issue('1 hour') AS t")).rows[0].t;
      });
    const identity = await transaction(session, async () => {
      await session.query("SELECT set_config('bulwark.ticket', $1, true)", [t]);
      return (await session.query('SELECT bulwark.identity() AS i')).rows[0].i;
    });
    assert.equal(Date.parse(identity.expires_at), exp * 1000);
    assert.equal(identity.proof, 'token');
    assert.equal(identity.assumed_by, null);
  });

  test('I36: an issuer dropped and created again: the old ticket stays refused', async () => {
    const t = await sign(second, claims({ iss: issuer }));
    const oldTicket = await ticket(session, t);
    await db.value('SELECT bulwark.issuer_drop($1)', issuer);
    await refused(session, t, /issuer is not registered/);
    await ticketRefused(session, oldTicket);
    await db.issuer(issuer, AUDIENCE, keySet(second));
    assert.equal((await authenticate(session, t)).principal_id, ann);
    await ticketRefused(session, oldTicket);
  });
});

describe('I3: the header cannot choose how it is verified', () => {
  for (const alg of ['none', 'None', 'NONE', 'nOnE'])
    test(`I3: alg ${alg}`, async () => {
      const unsigned = `${b64(JSON.stringify({ alg }))}.${b64(JSON.stringify(claims()))}`;
      await refused(app, `${unsigned}.`, /algorithm is not one that is supported/);
      await refused(app, `${unsigned}.${(await token()).split('.')[2]}`, /algorithm is not one that is supported/);
    });

  test('I3: HS256 signed with the public key as PEM, DER, JWK or n', async () => {
    const rsa = await makeKey('RS256');
    await db.issuer('https://rsa.example', AUDIENCE, keySet(rsa), { algorithms: ['RS256', 'PS256'] });
    const publicKey = await jose.importJWK(rsa.jwk, 'RS256');
    const pem = await jose.exportSPKI(publicKey);
    const secrets = [pem, pem.trim(), Buffer.from(pem.replace(/-----.*-----|\s/g, ''), 'base64'), JSON.stringify(rsa.jwk),
      rsa.jwk.n, Buffer.from(rsa.jwk.n, 'base64url')];
    for (const secret of secrets)
      for (const kid of [rsa.kid, undefined]) {
        const input = `${b64(JSON.stringify({ alg: 'HS256', kid }))}.${b64(JSON.stringify(claims({ iss: 'https://rsa.example' })))}`;
        await refused(app, `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`, /not among those allowed/);
      }
  });

  for (const kid of ['../../../dev/null', '/etc/passwd', "' OR '1'='1", "x'; DROP TABLE t; --", '%', '*', '', 'k'.repeat(255)])
    test(`I3: kid ${JSON.stringify(kid.slice(0, 20))}`, async () => refused(app, await token({}, { kid }), /no key.*fits/));
  for (const kid of [1, null, ['a'], { a: 1 }])
    test(`I3: kid ${JSON.stringify(kid)}`, async () =>
      refused(app, await signRaw(key, JSON.stringify({ alg: 'ES256', kid }), JSON.stringify(claims())), /kid is not a string/));

  test('I3: embedded jwk, jku, x5u, x5c, also of the right key', async () => {
    const attacker = await makeKey('ES256', { kid: key.kid });
    for (const signer of [attacker, key]) {
      for (const header of [{ jwk: attacker.jwk }, { jku: 'https://attacker.example/jwks' }, { x5u: 'https://attacker.example/x' },
        { x5c: ['MIIB'] }])
        await refused(app, await sign(signer, claims(), header), /parameter that is refused/);
    }
    await refused(app, await sign(attacker, claims()), /signature does not verify/);
  });

  test('I3: unknown crit, b64:false, compression, encryption', async () => {
    const with_ = header => signRaw(key, JSON.stringify({ alg: 'ES256', kid: key.kid, ...header }), JSON.stringify(claims()));
    for (const header of [{ crit: ['x'], x: 1 }, { crit: [] }, { crit: ['exp'] }, { b64: false, crit: ['b64'] }, { b64: true },
      { zip: 'DEF' }, { enc: 'A256GCM' }])
      await refused(app, await with_(header), /parameter that is refused/);
    const unencoded = await new jose.FlattenedSign(Buffer.from(JSON.stringify(claims())))
      .setProtectedHeader({ alg: 'ES256', kid: key.kid, b64: false, crit: ['b64'] }).sign(key.key);
    await refused(app, `${unencoded.protected}.${b64(JSON.stringify(claims()))}.${unencoded.signature}`, /parameter that is refused/);
  });

  test('I3: an encrypted token (JWE)', async () => {
    const secret = randomBytes(32);
    const direct = await new jose.EncryptJWT(claims()).setProtectedHeader({ alg: 'dir', enc: 'A256GCM' }).encrypt(secret);
    await refused(app, direct, /three segments/);
    const publicKey = await jose.importJWK({ ...key.jwk, use: undefined }, 'ECDH-ES');
    await refused(app, await new jose.EncryptJWT(claims()).setProtectedHeader({ alg: 'ECDH-ES', enc: 'A256GCM' }).encrypt(publicKey),
      /three segments/);
  });

  test('I3: a kid whose key has another alg or use, and no fallback to another key', async () => {
    const [es, es384, rsa] = [await makeKey('ES256'), await makeKey('ES384'), await makeKey('RS256')];
    const enc = await makeKey('ES256');
    await db.issuer('https://kids.example', AUDIENCE, { keys: [es.jwk, es384.jwk, rsa.jwk, { ...enc.jwk, use: 'enc' }] },
      { algorithms: ['ES256', 'ES384', 'RS256', 'PS256'] });
    await db.value('SELECT bulwark.principal_link($1, $2, $3)', ann, 'https://kids.example', 'ann');
    const c = claims({ iss: 'https://kids.example' });
    for (const k of [es, es384, rsa]) assert.equal((await authenticate(app, await sign(k, c))).principal_id, ann);
    await refused(app, await sign({ ...es, kid: es384.kid }, c), /no key.*fits/);
    await refused(app, await sign({ ...es, kid: rsa.kid }, c), /no key.*fits/);
    await refused(app, await sign({ ...rsa, kid: es.kid }, c), /no key.*fits/);
    await refused(app, await sign({ ...es, kid: 'unknown' }, c), /no key.*fits/);
    await refused(app, await sign(enc, c), /no key.*fits/);
    // RS256 is what the JWK's alg says, so PS256 is refused although the key could
    const pss = await jose.importPKCS8(await jose.exportPKCS8(rsa.key), 'PS256');
    await refused(app, await sign({ key: pss, alg: 'PS256', kid: rsa.kid }, c), /no key.*fits/);
  });

  test('I3: an ECDSA signature as DER, of zeros, or of another length', async () => {
    const parts = (await token()).split('.');
    const raw = Buffer.from(parts[2], 'base64url');
    const der = Buffer.concat([Buffer.from([0x30, 70, 2, 33, 0]), raw.subarray(0, 32), Buffer.from([2, 33, 0]), raw.subarray(32)]);
    for (const signature of [der, Buffer.alloc(64), Buffer.alloc(0), raw.subarray(0, 63), Buffer.concat([raw, Buffer.alloc(1)])])
      await refused(app, `${parts[0]}.${parts[1]}.${b64(signature)}`, /signature does not verify/);
  });
});

describe('I4: the claims say who, for whom and when', () => {
  const date = /claim \w+ is not a time/;
  const raw = text => sign(key, JSON.stringify(claims({ exp: 'EXP' })).replace('"EXP"', text));

  test('I4: exp missing', async () => refused(app, await token({ exp: undefined }), /has no exp/));
  for (const [title, exp, cause] of [
    ['a string', JSON.stringify(String(now() + 300)), date], ['null', 'null', date], ['true', 'true', date], ['an array', '[4102444800]', date],
    ['1e400', '1e400', /number out of range/], ['-1', '-1', date], ['2^63', '9223372036854775808', date], ['1e18', '1e18', date],
    ['milliseconds', String(Date.now() + 300000), date], ['0', '0', /expired/], ['0.5', '0.5', /expired/], ['1e-400', '1e-400', /number out of range/],
    ['NaN', 'NaN', /malformed/], ['Infinity', 'Infinity', /malformed/], ['hexadecimal', '0xffffffff', /malformed/], ['with a leading zero', '04102444800', /malformed/],
    ['with a plus', '+4102444800', /malformed/], ['12,000 digits', '1'.repeat(11000), /number out of range/],
  ]) test(`I4: exp ${title}`, async () => refused(app, await raw(exp), cause));

  test('I4: exp as a fraction or with an exponent is a number', async () => {
    assert.equal((await authenticate(app, await raw(`${now() + 300}.25`))).principal_id, ann);
    assert.equal((await authenticate(app, await raw(`${(now() + 300) / 10}e1`))).principal_id, ann);
  });
  test('I4: exp at most 30 s past', async () => {
    const late = await authenticate(app, await token({ iat: now() - 300, exp: now() - 20 }));
    assert.ok(new Date(late.expires_at) > new Date() && new Date(late.expires_at) < new Date(Date.now() + 15000));
    await refused(app, await token({ iat: now() - 300, exp: now() - 31 }), /expired/);
  });
  for (const claim of ['nbf', 'iat']) {
    test(`I4: ${claim} in the future beyond 30 s`, async () => {
      await refused(app, await token({ [claim]: now() + 40 }), /not valid yet|in the future/);
      assert.equal((await authenticate(app, await token({ [claim]: now() + 20 }))).principal_id, ann);
    });
    for (const value of ['0', null, {}, -1, 1e20])
      test(`I4: ${claim} ${JSON.stringify(value)}`, async () => refused(app, await token({ [claim]: value }), date));
  }
  test('iat and nbf may be absent', async () =>
    assert.equal((await authenticate(app, await token({ iat: undefined }))).principal_id, ann));

  for (const iss of ['https://IDP.example/', 'https://idp.example', 'https://idp.example//', ' https://idp.example/', 'https://idp.example/\u0000',
    '', undefined, null, 1, [ISSUER], { iss: ISSUER }, 'i'.repeat(2000)])
    test(`I4: iss ${JSON.stringify(iss)?.slice(0, 40)}`, async () => refused(app, await token({ iss }), /issuer is not registered|malformed/));

  for (const aud of [undefined, null, '', [], 1, true, {}, ['other'], [1, 2], [AUDIENCE, 1], [[AUDIENCE]], { 0: AUDIENCE }, 'https://API.example/',
    'https://api.example', `${AUDIENCE} other`])
    test(`I4: aud ${JSON.stringify(aud)}`, async () => refused(app, await token({ aud }), /another audience/));
  test('I4: an aud array that has ours is accepted', async () => {
    const many = Array.from({ length: 40 }, (_, i) => `aud-${i}`);
    for (const aud of [[AUDIENCE], ['other', AUDIENCE], [...many, AUDIENCE]])
      assert.equal((await authenticate(app, await token({ aud }))).principal_id, ann);
  });

  for (const sub of [undefined, null, '', 1, ['ann'], 'a'.repeat(256)])
    test(`I4: sub ${JSON.stringify(sub)?.slice(0, 20)}`, async () => refused(app, await token({ sub }), /subject claim/));
  for (const tenant of [null, '', true, ['acme'], { slug: 'acme' }, 42, 'a'.repeat(256)])
    test(`I4: tenant ${JSON.stringify(tenant)?.slice(0, 20)}`, async () => refused(app, await token({ tenant }), /tenant claim/));
});

describe('I5: one text for each token, and a small one', () => {
  const payload = text => sign(key, text);
  const withClaims = more => JSON.stringify(claims()).replace(/}$/, `,${more}}`);

  for (const [title, more] of [['twice', '"sub":"bob"'], ['twice, escaped', '"\\u0073ub":"bob"'], ['twice with another case of hex', '"\\u0073\\u0075\\u0062":"bob"'],
    ['twice in an object', '"x":{"a":1,"a":2}'], ['twice at depth', '"x":[{"y":[{"a":1,"\\u0061":2}]}]'], ['of no name twice', '"":1,"":2']])
    test(`I5: a claim ${title}`, async () => refused(app, await payload(withClaims(more)), /same name twice/));
  test('the same name in other objects is fine', async () =>
    assert.equal((await authenticate(app, await payload(withClaims('"x":{"sub":1,"y":{"sub":2}},"z":[{"a":1},{"a":1}]')))).principal_id, ann));

  test('I5: NUL, raw and escaped', async () => {
    await refused(app, await payload(withClaims('"x":"\\u0000"')), /malformed/);
    await refused(app, await payload(`${JSON.stringify(claims())}\0`), /UTF-8/);
    await refused(app, await payload(withClaims('"x":"\0"')), /UTF-8/);
    await refused(app, await token({ sub: 'ann\0' }), /malformed/);
  });
  test('I5: invalid UTF-8', async () => {
    const text = Buffer.from(withClaims('"x":"____"'));
    for (const bytes of [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe2, 0x82]]) {
      const bad = Buffer.from(text);
      Buffer.from(bytes).copy(bad, bad.indexOf('____'));
      await refused(app, await payload(bad), /UTF-8/);
    }
    await refused(app, await payload(withClaims('"x":"\\ud800"')), /malformed/);
    assert.equal((await authenticate(app, await token({ name: 'Ännchen 🦉', x: '\u2028' }))).principal_id, ann);
  });
  test('I5: depth 10,000', async () => {
    await refused(app, await payload(withClaims(`"x":${'['.repeat(5500)}${']'.repeat(5500)}`)), /nested too deeply/);
    await refused(app, await payload(`${'{"a":'.repeat(2400)}`), /nested too deeply/);
    await refused(app, await payload('['.repeat(10000)), /nested too deeply/);
    await refused(app, await payload(withClaims(`"x":${'['.repeat(16)}${']'.repeat(16)}`)), /nested too deeply/);
    assert.equal((await authenticate(app, await payload(withClaims(`"x":${'['.repeat(15)}${']'.repeat(15)}`)))).principal_id, ann);
  });
  test('I5: not a JSON object', async () => {
    for (const text of ['', ' ', '[]', '"x"', '1', 'null', '{', '{}{}', `${JSON.stringify(claims())},`, '{"a":1,}', "{'a':1}", '\ufeff{}'])
      await refused(app, await payload(text), /malformed|not an object/);
  });
  test('I5: 1 MiB and 16 KiB', async () => {
    await refused(app, await token({ x: 'x'.repeat(1 << 20) }), /longer than 16 KiB/);
    await refused(app, 'A'.repeat(1 << 20), /longer than 16 KiB/);
    await refused(app, '.'.repeat(16384), /three segments/);
    let t, fill = 11000;
    while ((t = await token({ x: 'x'.repeat(fill) })).length <= 16384) fill++;
    await refused(app, t, /longer than 16 KiB/);
    assert.equal((await authenticate(app, await token({ x: 'x'.repeat(fill - 1) }))).principal_id, ann);
  });
  test('I5: 2, 4 and 5 segments, padding, white space, non-canonical base64url', async () => {
    const t = await token();
    const [header, body, signature] = t.split('.');
    for (const bad of ['', '.', '..', header, `${header}.${body}`, `${t}.`, `.${t}`, `${t}.AA`, `${t}.AA.AA`])
      await refused(app, bad, /three segments|malformed/);
    for (const bad of [`${t}=`, `${t}==`, `${t}\n`, ` ${t}`, `${t} `, `${header}=.${body}.${signature}`, `${header}.${body} .${signature}`,
      `${header}.${body}\t.${signature}`, `${header}.${body}.${signature.replace(/.$/, '+')}`, `${header}.${body}.${signature.replace(/.$/, 'é')}`, `Bearer ${t}`])
      await refused(app, bad, /base64url/);
    // 64 bytes leave 4 spare bits in the last character: only one of 16 is canonical
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const last = alphabet.indexOf(signature.at(-1));
    for (let bit = 1; bit < 16; bit++)
      await refused(app, t.slice(0, -1) + alphabet[last ^ bit], /base64url/);
  });
  test('I5: refused fast, memory flat', async () => {
    const memory = () => db.admin.query('SELECT sum(total_bytes)::bigint AS n FROM pg_backend_memory_contexts').then(r => Number(r.rows[0].n));
    const bad = [await token({ x: 'x'.repeat(1 << 20) }), await payload(`{${Array.from({ length: 1800 }, (_, i) => `"${i}":0`).join()}}`),
      await payload(withClaims(`"x":[${'{},'.repeat(3000)}{"a":1,"a":1}]`)), await token({ exp: 1 }), await token({ iss: 'unknown' })];
    const round = async () => {
      for (const t of bad)
        await assert.rejects(authenticate(db.admin, t), { code: '28000' });
    };
    for (let i = 0; i < 5; i++) await round();
    const before = await memory();
    const start = process.hrtime.bigint();
    for (let i = 0; i < 60; i++) await round();
    const ms = Number(process.hrtime.bigint() - start) / 1e6 / (60 * bad.length);
    assert.ok(await memory() - before < 256 * 1024, 'memory grows');
    assert.ok(ms < 50, `${ms} ms for a refusal`);
  });
});

describe('I6: who and where', () => {
  test('I6: the same sub from another issuer is another principal', async () => {
    const k = await makeKey('EdDSA');
    await db.issuer('https://other.example', AUDIENCE, keySet(k));
    await refused(app, await sign(k, claims({ iss: 'https://other.example' })), /./);
    const other = await db.principal('ann@other.example', { [globex]: 'read_only' }, [['https://other.example', 'ann']]);
    assert.equal((await authenticate(app, await sign(k, claims({ iss: 'https://other.example', tenant: 'globex' })))).principal_id, other);
    await refused(app, await sign(k, claims({ iss: 'https://other.example', tenant: 'acme' })), /./);
    assert.equal((await authenticate(app, await token())).principal_id, ann);
    // signed by the one, claiming to be the other
    await refused(app, await sign(k, claims()), /no key.*fits/);
    await refused(app, await sign({ ...k, kid: undefined }, claims()), /not among those allowed|no key.*fits|does not verify/);
  });
  test('I6: sub in another case, or with space', async () => {
    for (const sub of ['Ann', 'ann ', ' ann', 'ann\u200b', 'bob']) await refused(app, await token({ sub }), /./);
  });
  test('I6: a tenant claim naming a tenant one is no member of, or none', async () => {
    for (const tenant of ['globex', globex, 'ACME', 'acme ', 'nowhere', acme, '42']) await refused(app, await token({ tenant }), /./);
  });
  test('without a tenant claim, the only membership', async () => {
    assert.equal((await authenticate(app, await token({ tenant: undefined }))).tenant_id, acme);
    const both = await db.principal('both@example', { [acme]: 'read_only', [globex]: 'read_only' }, [[ISSUER, 'both']]);
    await refused(app, await token({ sub: 'both', tenant: undefined }), /./);
    assert.equal((await authenticate(app, await token({ sub: 'both', tenant: 'globex' }))).principal_id, both);
  });
  test('I38: an issuer that speaks for A names B', async () => {
    const k = await makeKey('EdDSA');
    await db.issuer('https://a.example', AUDIENCE, keySet(k), { tenant_ids: [acme] });
    await db.principal('both@a.example', { [acme]: 'read_only', [globex]: 'read_only' }, [['https://a.example', 'both']]);
    await db.principal('b@a.example', { [globex]: 'read_only' }, [['https://a.example', 'b']]);
    assert.equal((await authenticate(app, await sign(k, claims({ iss: 'https://a.example', sub: 'both' })))).tenant_id, acme);
    await refused(app, await sign(k, claims({ iss: 'https://a.example', sub: 'both', tenant: 'globex' })), /./);
    await refused(app, await sign(k, claims({ iss: 'https://a.example', sub: 'b', tenant: undefined })), /./);
  });
  test('tenant_claim_is key and id; a key may be an integer, exactly as it is written', async () => {
    for (const [how, value, wrong] of [['key', '42', 'acme'], ['id', acme, '42']]) {
      const issuer = `https://${how}.example`;
      const k = await makeKey('EdDSA');
      await db.issuer(issuer, AUDIENCE, keySet(k), { tenant_claim_is: how, tenant_claim: 'https://example/tenant', subject_claim: 'uid' });
      await db.value('SELECT bulwark.principal_link($1, $2, $3)', ann, issuer, 'u1');
      const t = tenant => sign(k, JSON.stringify(claims({ iss: issuer, tenant: globex, uid: 'u1', sub: 'x' })).replace(/}$/, `,"https://example/tenant":${tenant}}`));
      assert.equal((await authenticate(app, await t(JSON.stringify(value)))).tenant_id, acme);
      for (const bad of [JSON.stringify(wrong), '"042"', '"+42"', '" 42"', '42.0', '4.2e1', '-42', '[42]'])
        await refused(app, await t(bad), /./);
      if (how === 'key') assert.equal((await authenticate(app, await t('42'))).tenant_id, acme);
      else await refused(app, await t('42'), /tenant claim/);
    }
  });
});

describe('I37: a signed statement that is not this bearer\'s authority', () => {
  const accepted = async (t, who = ann) => assert.equal((await authenticate(app, await t)).principal_id, who);

  test('I37: ID tokens', async () => {
    for (const mark of [{ nonce: 'n' }, { at_hash: 'h' }, { c_hash: 'h' }, { s_hash: 'h' }, { token_use: 'id' }, { typ: 'ID' }, { auth_time: now() }])
      await refused(app, await token(mark), /ID token/);
    // with an access token's marks beside, what binds an ID token still tells
    await refused(app, await token({ nonce: 'n', scope: 'openid' }, { typ: 'at+jwt' }), /ID token/);
    for (const access of [{ auth_time: now(), scope: 'read' }, { auth_time: now(), scp: ['read'] }, { auth_time: now(), client_id: 'web' },
      { typ: 'Bearer', azp: 'web', acr: '1' }, { token_use: 'access' }])
      await accepted(token(access));
    await accepted(token({ auth_time: now() }, { typ: 'at+jwt' }));
  });
  test('ID tokens where the issuer was created so', async () => {
    const k = await makeKey('EdDSA');
    await db.issuer('https://id-tokens.example', AUDIENCE, keySet(k), { id_tokens: true });
    await db.value('SELECT bulwark.principal_link($1, $2, $3)', ann, 'https://id-tokens.example', 'ann');
    await accepted(sign(k, claims({ iss: 'https://id-tokens.example', nonce: 'n', at_hash: 'h', auth_time: now() })));
    await refused(app, await sign(k, claims({ iss: 'https://id-tokens.example', events: {} })), /events/);
  });
  test('I37: logout tokens and security events', async () => {
    await refused(app, await token({ events: { 'http://schemas.openid.net/event/backchannel-logout': {} } }), /events/);
    for (const typ of ['logout+jwt', 'application/logout+jwt', 'secevent+jwt', 'dpop+jwt', 'entity-statement+jwt', 'JWT ', ''])
      await refused(app, await token({}, { typ }), /typ/);
  });
  test('I37: cnf, act', async () => {
    for (const cnf of [{ jkt: 'x' }, { 'x5t#S256': 'x' }, null]) await refused(app, await token({ cnf }), /cnf/);
    for (const act of [{ sub: 'mallory' }, null]) await refused(app, await token({ act }), /act/);
  });
  test('I37: exp in the year 9999, or beyond max_lifetime', async () => {
    await refused(app, await token({ exp: 253402300799 }), /max_lifetime/);
    await refused(app, await token({ exp: 253402300800 }), /not a time/);
    await refused(app, await token({ exp: now() + 25 * 3600 }), /max_lifetime/);
    await refused(app, await token({ iat: undefined, exp: now() + 25 * 3600 }), /max_lifetime/);
    await refused(app, await token({ iat: now() - 23 * 3600, exp: now() + 2 * 3600 }), /max_lifetime/);
    await accepted(token({ exp: now() + 23 * 3600 }));
  });
  test('I37: a scope narrows, and must be there where the issuer has one', async () => {
    const k = await makeKey('EdDSA');
    const issuer = 'https://scoped.example';
    await db.issuer(issuer, AUDIENCE, keySet(k), { scope_claim: 'scope' });
    await db.value('SELECT bulwark.principal_link($1, $2, $3)', ann, issuer, 'ann');
    const may = (scope, permissions) => transaction(app, async () => {
      await app.query('SELECT bulwark.authenticate($1)', [await sign(k, claims({ iss: issuer, scope }))]);
      const { rows } = await app.query("SELECT array_agg(bulwark.permitted(split_part(p, ':', 1), split_part(p, ':', 2)) ORDER BY n) AS may FROM unnest($1::text[]) WITH ORDINALITY AS u (p, n)", [permissions]);
      return rows[0].may;
    });
    assert.deepEqual(await may('orders:read invoices:*', ['orders:read', 'orders:update', 'invoices:delete', 'users:manage']), [true, false, true, false]);
    assert.deepEqual(await may(['orders:read'], ['orders:read', 'orders:update']), [true, false]);
    assert.deepEqual(await may('', ['orders:read', 'orders:update']), [false, false]);
    assert.deepEqual(await may('openid profile', ['orders:read']), [false]);
    for (const scope of [undefined, null, 1, { a: 1 }, [1], 's '.repeat(600)])
      await refused(app, await sign(k, claims({ iss: issuer, scope })), /scope claim/);
  });
  test('typ and required_claims as the issuer was created', async () => {
    const k = await makeKey('EdDSA');
    const issuer = 'https://strict.example';
    await db.issuer(issuer, AUDIENCE, keySet(k), { typ: ['at+jwt'], required_claims: { token_use: 'access', amr: ['mfa'] } });
    await db.value('SELECT bulwark.principal_link($1, $2, $3)', ann, issuer, 'ann');
    const t = (more, typ = 'at+jwt') => sign(k, claims({ iss: issuer, token_use: 'access', amr: ['pwd', 'mfa'], ...more }), { typ });
    await accepted(t());
    for (const typ of ['AT+JWT', 'application/at+jwt', 'Application/At+Jwt']) await accepted(t({}, typ));
    for (const typ of ['JWT', 'at+jwt2', 'x/at+jwt']) await refused(app, await t({}, typ), /typ/);
    await refused(app, await sign(k, claims({ iss: issuer, token_use: 'access', amr: ['mfa'] })), /typ/);
    for (const more of [{ token_use: 'id' }, { token_use: undefined }, { amr: ['pwd'] }, { amr: undefined }, { token_use: ['access'] }])
      await refused(app, await t(more), /lacks a claim|ID token/);
  });
});
