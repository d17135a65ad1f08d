// node-postgres as applications use it: both protocols, named statements, cursors,
// COPY and pools, with the identity proved in each transaction.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import pg from 'pg';
import Cursor from 'pg-cursor';
import copy from 'pg-copy-streams';
import { prove, request } from './provider.mjs';
import { Shop } from './shop.mjs';

let shop, app, a, b;

before(async () => {
  shop = await Shop.create(5);
  app = await shop.app();
  [a, b] = shop.tenants;
});
after(() => shop?.drop());

const owners = async (client, sql = 'SELECT owner FROM orders', values) =>
  [...new Set((await client.query(sql, values)).rows.map(row => row.owner))];
const count = async (client, table = 'orders') =>
  Number((await client.query(`SELECT count(*) FROM ${table}`)).rows[0].count);
const rejects = (promise, code, message = /./) => assert.rejects(promise, error => {
  assert.equal(error.code, code, error.message);
  assert.match(error.message, message);
  return true;
});

describe('proving an identity', () => {
  test('a token as a bound parameter serves the transaction, and no longer', async () => {
    await request(app, await a.token(), async () => {
      assert.equal(await count(app), a.orders);
      assert.deepEqual(await owners(app), [a.slug]);
      assert.equal(await count(app, 'lines'), 2 * a.orders);
    });
    assert.equal(await count(app), 0);
  });

  test('authenticate() returns who it is', async () => {
    const { rows: [{ identity }] } = await request(app, null, async () =>
      app.query('SELECT bulwark.authenticate($1) AS identity', [await b.token()]));
    assert.equal(identity.principal_id, b.manager.id);
    assert.equal(identity.tenant_id, b.id);
    assert.equal(identity.tenant_slug, b.slug);
    assert.deepEqual(identity.roles, ['member']);
    assert.equal(identity.proof, 'token');
    assert.ok(Date.parse(identity.expires_at) > Date.now());
  });

  test('a ticket by set_config() as a bound parameter, in another session of the login', async () => {
    const ticket = await a.ticket(await shop.app());
    await request(app, ticket, async () => assert.deepEqual(await owners(app), [a.slug]));
    assert.equal(await count(app), 0);
  });

  test('I13: neither COMMIT nor ROLLBACK leaves an identity', async () => {
    for (const end of ['COMMIT', 'ROLLBACK']) {
      await app.query('BEGIN');
      await prove(app, await a.token());
      assert.equal(await count(app), a.orders);
      await app.query(end);
      assert.equal(await count(app), 0);
      assert.equal((await app.query('SELECT bulwark.identity() AS identity')).rows[0].identity, null);
    }
  });

  test('in the simple protocol several statements are one transaction', async () => {
    const results = await app.query(
      `SELECT bulwark.authenticate('${await a.token()}'); SELECT count(*) FROM orders; SELECT count(*) FROM customers`);
    assert.deepEqual(results.slice(1).map(r => Number(r.rows[0].count)), [a.orders, 5]);
    assert.equal(await count(app), 0);
  });

  for (const end of ['COMMIT', 'ROLLBACK', 'COMMIT AND CHAIN', 'ROLLBACK AND CHAIN'])
    test(`I13: in one message, what follows ${end} has no identity`, async () => {
      const results = await app.query(`BEGIN; SELECT bulwark.authenticate('${await a.token()}'); SELECT count(*)::int AS n FROM orders;
        ${end}; SELECT count(*)::int AS n FROM orders; ROLLBACK`);
      assert.deepEqual([results[2].rows[0].n, results[4].rows[0].n], [a.orders, 0]);
    });

  test('an identity that would serve nothing is an error, not silence', async () => {
    await rejects(app.query('SELECT bulwark.authenticate($1)', [await a.token()]), '25P01');
    assert.equal(await count(app), 0);
  });

  test('I9: the second identity of a transaction is refused, and the first is gone with it', async () => {
    await rejects(request(app, await a.token(), async () => prove(app, await b.token())), '55000', /already/);
    assert.equal(await count(app), 0);
  });

  test('I1: what is no ticket or token is refused with one message', async () => {
    const ticket = await a.ticket(app);
    for (const wrong of ['bwt1.', 'bwt1.e30.e30', `${ticket.slice(0, -2)}AA`, 'a.b.c', '', ' ', 'null', 'x'.repeat(100000)])
      await rejects(request(app, wrong, async () => 0), '28000', /^token or ticket refused$/);
    assert.equal(await count(app), 0);
  });

  test('a refused token does not spoil the connection for the next request', async () => {
    await rejects(request(app, 'nonsense', async () => 0), '28000');
    await request(app, await b.token(), async () => assert.deepEqual(await owners(app), [b.slug]));
  });

  test('I11: a savepoint rolled back restores what was, never another', async () => {
    await app.query('BEGIN');
    await app.query('SAVEPOINT one');
    await prove(app, await a.token());
    assert.equal(await count(app), a.orders);
    await app.query('ROLLBACK TO one');
    assert.equal(await count(app), 0);
    await app.query('SAVEPOINT two');
    await rejects(prove(app, await b.token()), '55000');
    await app.query('ROLLBACK TO two');
    assert.equal(await count(app), 0);
    await app.query('COMMIT');
  });

  test('I7: a token that expires in an open transaction opens nothing further', async () => {
    await app.query('BEGIN');
    await prove(app, await a.token(a.manager, '5 seconds'));
    const before = await count(app);
    // the skew of 30 seconds is for tokens that arrive late, not for identities in force
    await app.query('SELECT pg_sleep(6.5)');
    const after = await count(app);
    await app.query('ROLLBACK');
    assert.deepEqual([before, after], [a.orders, 0]);
  });
});

describe('statements', () => {
  test('I12: a named statement serves one tenant after another, each its own rows', async () => {
    const statement = { name: 'orders above', text: 'SELECT owner, amount FROM orders WHERE amount > $1 ORDER BY amount' };
    for (let round = 0; round < 4; round++)
      for (const tenant of shop.tenants)
        await request(app, await tenant.token(), async () => {
          const { rows } = await app.query({ ...statement, values: [3] });
          assert.deepEqual(rows, Array.from({ length: tenant.orders - 3 }, (_, i) => ({ owner: tenant.slug, amount: i + 4 })));
        });
    assert.equal((await app.query({ ...statement, values: [3] })).rowCount, 0);
  });

  for (const mode of ['force_generic_plan', 'force_custom_plan'])
    test(`I12: the same with ${mode}, over a join and a child`, async () => {
      const client = await shop.app({ options: `-c plan_cache_mode=${mode}` });
      const statement = {
        name: 'joined',
        text: `SELECT DISTINCT c.owner AS c, o.owner AS o, l.owner AS l FROM customers c JOIN orders o USING (customer_id)
               JOIN lines l USING (order_id) WHERE c.name = ANY ($1)`,
        values: [['customer 1', 'customer 2']],
      };
      for (const tenant of [...shop.tenants, ...shop.tenants]) {
        const { rows } = await request(client, await tenant.token(), () => client.query(statement));
        assert.deepEqual(rows, [{ c: tenant.slug, o: tenant.slug, l: tenant.slug }]);
        assert.equal((await client.query(statement)).rowCount, 0);
      }
    });

  test('a forgotten WHERE changes and removes own rows only', async () => {
    const others = await shop.value('SELECT sum(amount)::int FROM orders WHERE owner <> $1', a.slug);
    await assert.rejects(request(app, await a.token(), async () => {
      assert.equal((await app.query('UPDATE orders SET amount = 0')).rowCount, a.orders);
      assert.equal((await app.query('DELETE FROM lines')).rowCount, 2 * a.orders);
      assert.equal((await app.query('DELETE FROM orders')).rowCount, a.orders);
      throw new Error('that was meant to have a WHERE');
    }), /WHERE/);
    assert.equal(await shop.value('SELECT sum(amount)::int FROM orders WHERE owner <> $1', a.slug), others);
    assert.equal(await shop.value('SELECT count(*)::int FROM orders WHERE owner = $1', a.slug), a.orders);
  });

  test('an inserted row belongs to the tenant that inserts it', async () => {
    await app.query('BEGIN');
    await prove(app, await a.token());
    const { rows: [customer] } = await app.query("INSERT INTO customers (name, owner) VALUES ('new', $1) RETURNING *", [a.slug]);
    assert.equal(customer.tenant_id, a.id);
    await app.query('ROLLBACK');
  });

  test('I24: a row for another tenant is refused', async () => {
    await rejects(request(app, await a.token(), () =>
      app.query("INSERT INTO customers (tenant_id, name, owner) VALUES ($1, 'planted', 'x')", [b.id])), '42501', /row-level security/);
    await rejects(request(app, await a.token(), () => app.query('UPDATE customers SET tenant_id = $1', [b.id])), '42501');
  });

  test('I26: a reference to another tenant\'s row is a missing key, word for word', async () => {
    const theirs = await shop.value('SELECT min(customer_id) FROM customers WHERE tenant_id = $1', b.id);
    const token = await a.token();
    const insert = id => request(app, token, () =>
      app.query("INSERT INTO orders (customer_id, amount, owner) VALUES ($1, 1, 'x')", [id])).catch(error => error);
    const there = await insert(theirs), nowhere = await insert(999999999);
    assert.equal(there.code, '23503');
    for (const field of ['code', 'message', 'detail', 'constraint', 'table', 'file', 'line', 'routine', 'where'])
      assert.equal(there[field], nowhere[field], field);
  });

  test('I32: a viewer reads and writes nothing', async () => {
    const token = await a.token(a.viewer);
    await request(app, token, async () => assert.equal(await count(app), a.orders));
    await rejects(request(app, token, () => app.query("INSERT INTO customers (name, owner) VALUES ('x', 'x')")), '42501');
    await request(app, token, async () => {
      assert.equal((await app.query('UPDATE orders SET amount = 0')).rowCount, 0);
      assert.equal((await app.query('DELETE FROM lines')).rowCount, 0);
    });
  });

  test('I8: a membership revoked while a request runs: its next statement sees nothing', async () => {
    const person = await a.person('viewer');
    const membership = await shop.value('SELECT membership_id FROM bulwark.members WHERE principal_id = $1', person.id);
    await request(app, await a.token(person), async () => {
      const statement = { name: 'revoked', text: 'SELECT count(*)::int AS n FROM orders' };
      assert.equal((await app.query(statement)).rows[0].n, a.orders);
      await shop.value('SELECT bulwark.membership_revoke($1)', membership);
      assert.equal((await app.query(statement)).rows[0].n, 0);
    });
  });

  test('I18: row_security = off is an error, not rows', async () => {
    const client = await shop.app({ options: '-c row_security=off' });
    await rejects(request(client, await a.token(), () => client.query('SELECT * FROM orders')), '42501');
  });
});

describe('cursors', () => {
  const withCursor = async (sql, work, values) => {
    const cursor = app.query(new Cursor(sql, values));
    try {
      return await work(cursor);
    } finally {
      await cursor.close(); // or the connection waits for it
    }
  };

  test('a cursor returns own rows in portions', async () => {
    await request(app, await b.token(), () => withCursor('SELECT owner FROM lines WHERE line_id > $1', async cursor => {
      let rows, total = 0;
      while ((rows = await cursor.read(7)).length) {
        assert.ok(rows.every(row => row.owner === b.slug));
        total += rows.length;
      }
      assert.equal(total, 2 * b.orders);
    }, [0]));
  });

  test('I8: a cursor that is open while the membership is revoked returns nothing further', async () => {
    const person = await b.person('viewer');
    const membership = await shop.value('SELECT membership_id FROM bulwark.members WHERE principal_id = $1', person.id);
    await request(app, await b.token(person), () => withCursor('SELECT owner FROM lines', async cursor => {
      assert.equal((await cursor.read(3)).length, 3);
      await shop.value('SELECT bulwark.membership_revoke($1)', membership);
      assert.equal((await cursor.read(100)).length, 0);
    }));
  });

  test('I10: a declared cursor shows nothing once its identity is released', async () => {
    await request(app, await b.token(), async () => {
      await app.query('DECLARE c CURSOR FOR SELECT owner FROM lines');
      assert.equal((await app.query('FETCH 3 FROM c')).rowCount, 3);
      await app.query('SELECT bulwark.release()');
      assert.equal((await app.query('FETCH ALL FROM c')).rowCount, 0);
    });
  });

  test('I34: a cursor WITH HOLD is refused', async () => {
    await rejects(request(app, await b.token(), () => app.query('DECLARE c CURSOR WITH HOLD FOR SELECT 1')), '42501');
  });
});

describe('the protocol itself', () => {
  /** A connection without a driver's manners: messages as they are asked for. */
  class Wire {
    static async open() {
      const self = new Wire();
      self.connection = new pg.Connection();
      self.connection.on('error', () => {});
      self.connection.on('connect', () => self.connection.startup({ user: shop.login, database: shop.name }));
      const ready = once(self.connection, 'readyForQuery');
      self.connection.connect(`${process.env.PGHOST}/.s.PGSQL.${process.env.PGPORT ?? 5432}`);
      await ready;
      return self;
    }

    /** Parse, Bind and Execute for each [portal, sql or null, rows, value], then Sync: what each returned. */
    async send(...steps) {
      const results = [];
      let rows = [];
      const on = {
        dataRow: ({ fields }) => rows.push(fields[0]?.toString()),
        end: () => results.push(rows.splice(0)),
        errorMessage: error => results.push(error.code),
      };
      const handlers = { dataRow: on.dataRow, commandComplete: on.end, portalSuspended: on.end, errorMessage: on.errorMessage };
      for (const [event, handler] of Object.entries(handlers)) this.connection.on(event, handler);
      const ready = once(this.connection, 'readyForQuery');
      for (const [portal, sql, max, value] of steps) {
        if (sql !== null) {
          this.connection.parse({ name: '', text: sql });
          this.connection.bind({ portal, statement: '', values: value === undefined ? [] : [value] });
        }
        this.connection.execute({ portal, rows: max });
      }
      this.connection.sync();
      await ready;
      for (const [event, handler] of Object.entries(handlers)) this.connection.off(event, handler);
      return results;
    }
  }
  const AUTHENTICATE = 'SELECT bulwark.authenticate($1)';
  const OWNERS = 'SELECT owner FROM lines';
  let wire;
  before(async () => { wire = await Wire.open(); });
  after(() => wire?.connection.end());

  test('I10: a portal that is suspended shows nothing once its identity is released', async () => {
    const results = await wire.send(['', 'BEGIN', 0], ['', AUTHENTICATE, 0, await a.token()], ['p', OWNERS, 3], ['p', null, 2],
      ['', 'SELECT bulwark.release()', 0], ['p', null, 0], ['', 'ROLLBACK', 0]);
    assert.deepEqual([results[2], results[3], results[5]], [Array(3).fill(a.slug), Array(2).fill(a.slug), []]);
  });

  test('I10: a portal opened without an identity never shows another\'s rows than who fetches', async () => {
    const results = await wire.send(['', 'BEGIN', 0], ['p', OWNERS, 1], ['', AUTHENTICATE, 0, await b.token()], ['p', null, 0], ['', 'ROLLBACK', 0]);
    assert.deepEqual(results[1], []);
    for (const owner of results[3]) assert.equal(owner, b.slug);
  });

  test('I9: a pipeline is of one identity, and needs a transaction for it', async () => {
    const prove = async tenant => ['', AUTHENTICATE, 0, await tenant.token()];
    assert.deepEqual(await wire.send(await prove(a), ['', OWNERS, 0]), ['25P01']); // what follows is skipped
    const [, , rows, second, ...rest] = await wire.send(['', 'BEGIN', 0], await prove(a), ['', OWNERS, 0], await prove(b), ['', OWNERS, 0]);
    assert.deepEqual([...new Set(rows)], [a.slug]);
    assert.equal(second, '55000');
    assert.deepEqual(rest, []);
    await wire.send(['', 'ROLLBACK', 0]);
    assert.deepEqual(await wire.send(['', OWNERS, 0]), [[]]);
  });

  test('I13: a portal does not live on with its rows after the transaction', async () => {
    await wire.send(['', 'BEGIN', 0], ['', AUTHENTICATE, 0, await a.token()], ['p', OWNERS, 1], ['', 'COMMIT', 0]);
    assert.deepEqual(await wire.send(['', 'BEGIN', 0], ['p', null, 0]), [[], '34000']);
    await wire.send(['', 'ROLLBACK', 0]);
  });
});

describe('COPY', () => {
  const text = async (client, sql) => {
    const chunks = [];
    for await (const chunk of client.query(copy.to(sql))) chunks.push(chunk);
    return Buffer.concat(chunks).toString();
  };

  test('I22: COPY TO gives own rows only, and none without an identity', async () => {
    await request(app, await a.token(), async () => {
      const lines = (await text(app, 'COPY lines (owner) TO STDOUT')).trim().split('\n');
      assert.equal(lines.length, 2 * a.orders);
      assert.deepEqual([...new Set(lines)], [a.slug]);
    });
    assert.equal(await text(app, 'COPY lines TO STDOUT'), '');
  });

  test('I22: COPY FROM into a protected table is refused', async () => {
    await rejects(request(app, await a.token(), () =>
      pipeline(Readable.from([`${b.id}\tplanted\tx\n`]), app.query(copy.from('COPY customers (tenant_id, name, owner) FROM STDIN')))),
    '0A000', /row-level security/);
    assert.equal(await shop.value("SELECT count(*)::int FROM customers WHERE name = 'planted'"), 0);
  });

  test('many rows in one INSERT take its place', async () => {
    await app.query('BEGIN');
    await prove(app, await a.token());
    const { rowCount } = await app.query('INSERT INTO customers (name, owner) SELECT name, $2 FROM unnest($1::text[]) AS name',
      [Array.from({ length: 1000 }, (_, n) => `bulk ${n}`), a.slug]);
    assert.equal(rowCount, 1000);
    assert.equal(await count(app, 'customers'), 1005);
    await app.query('ROLLBACK');
  });
});

describe('a pool', () => {
  let pool;
  before(() => {
    pool = new pg.Pool({ database: shop.name, user: shop.login, password: shop.password, max: 3 });
  });
  after(() => pool.end());
  const withClient = async work => {
    const client = await pool.connect();
    try {
      return await work(client);
    } finally {
      client.release();
    }
  };

  test('I13: a pooled connection shows nothing to who has no identity', async () => {
    const work = [];
    for (let i = 0; i < 60; i++) {
      const tenant = shop.tenants[i % shop.tenants.length];
      work.push(withClient(async client =>
        request(client, await tenant.token(), async () => assert.deepEqual(await owners(client), [tenant.slug]))));
      work.push(pool.query('SELECT * FROM orders').then(({ rowCount }) => assert.equal(rowCount, 0)));
    }
    await Promise.all(work);
    assert.ok(pool.totalCount <= 3);
  });

  test('I11: failed requests leave a connection without an identity', async () => {
    const failures = ['SELECT 1/0', 'SELECT * FROM nothing', "INSERT INTO orders (customer_id, amount, owner) VALUES (1, -1, 'x')",
      'SELECT bulwark.ticket_issue(interval $$2 hours$$)'];
    for (const failure of failures)
      await withClient(async client => {
        await assert.rejects(request(client, await a.token(), () => client.query(failure)));
        assert.equal(await count(client), 0);
      });
  });

  test('a request that is cancelled leaves none', async () => {
    await withClient(async client => {
      await rejects(request(client, await a.token(), async () => {
        await client.query("SET LOCAL statement_timeout = '50ms'");
        await client.query('SELECT pg_sleep(10) FROM orders');
      }), '57014');
      assert.equal(await count(client), 0);
    });
  });

  test('a transaction that is forgotten keeps its identity to itself', async () => {
    const client = await pool.connect();
    await client.query('BEGIN');
    await prove(client, await a.token());
    await client.query('SELECT 1');
    client.release(true);
    assert.equal((await pool.query('SELECT * FROM orders')).rowCount, 0);
  });

  test('a client that returns its connection inside a transaction: the next request cannot switch its identity', async () => {
    const single = new pg.Pool({ database: shop.name, user: shop.login, password: shop.password, max: 1 });
    try {
      const first = await single.connect();
      await first.query('BEGIN');
      await prove(first, await a.token());
      first.release();
      const second = await single.connect();
      await second.query('BEGIN');
      await rejects(prove(second, await b.token()), '55000');
      second.release(true);
    } finally {
      await single.end();
    }
  });

  test('I34: what a request would leave in its connection is refused', async () => {
    for (const residue of ['CREATE TEMP TABLE orders (owner text)', 'PREPARE p AS SELECT 1', 'LISTEN news', "SET search_path = 'pg_temp'",
      'SET ROLE bulwark_app', 'SET row_security = on', "SELECT set_config('search_path', 'pg_temp', false)"])
      await withClient(async client => {
        await rejects(request(client, await a.token(), () => client.query(residue)), '42501', /not allowed for an application login/);
      });
  });
});

describe('a pre-request function, as PostgREST calls it', () => {
  let authenticator, web, sessions;
  before(async () => {
    [authenticator, web] = [`${shop.login}_authenticator`, `${shop.login}_web`];
    await shop.admin.query(`
      CREATE SCHEMA api;
      CREATE FUNCTION api.identify() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
      DECLARE
        bearer text := current_setting('request.headers', true)::json ->> 'authorization';
      BEGIN
        IF bearer ILIKE 'bearer %' THEN
          PERFORM bulwark.authenticate(substr(bearer, 8));
        END IF;
      END $$;
      CREATE ROLE ${authenticator} LOGIN NOINHERIT;
      CREATE ROLE ${web} NOLOGIN IN ROLE bulwark_app;
      GRANT ${web}, bulwark_app TO ${authenticator};
      GRANT USAGE ON SCHEMA api TO ${web};
      GRANT SELECT, INSERT, UPDATE, DELETE ON orders, lines TO ${web}`);
    shop.roles.push(authenticator, web);
    sessions = await Promise.all([1, 2].map(() => shop.connect({ user: authenticator })));
  });

  /** A request over HTTP: the settings of the transaction, the function, the query. */
  const call = async (session, headers, sql) => request(session, null, async () => {
    await session.query({
      name: 'settings',
      text: `SELECT set_config('search_path', $1, true), set_config('role', $2, true), set_config('request.jwt.claims', $3, true),
        set_config('request.method', 'GET', true), set_config('request.headers', $4, true)`,
      values: ['"public"', web, JSON.stringify({ role: web, tenant: b.slug }), JSON.stringify(headers)],
    });
    await session.query('SELECT api.identify()');
    return (await session.query(sql)).rows;
  });
  const sql = 'SELECT owner, current_user::text AS role FROM orders';

  test('each request reads as its bearer, one after another on the same connections', async () => {
    for (let round = 0; round < 3; round++)
      for (const [i, tenant] of shop.tenants.entries()) {
        const rows = await call(sessions[i % 2], { authorization: `Bearer ${await tenant.token()}` }, sql);
        assert.equal(rows.length, tenant.orders);
        for (const row of rows) assert.deepEqual(row, { owner: tenant.slug, role: web });
      }
  });

  test('without a token nothing, with a false one an error, whatever the claims say', async () => {
    assert.deepEqual(await call(sessions[0], {}, sql), []);
    assert.deepEqual(await call(sessions[0], { authorization: 'Basic YTpi' }, sql), []);
    await rejects(call(sessions[0], { authorization: 'Bearer nonsense' }, sql), '28000', /^token or ticket refused$/);
    assert.deepEqual(await call(sessions[0], {}, sql), []);
  });

  test('the caller of the request writes own rows only', async () => {
    const authorization = `Bearer ${await a.token()}`;
    const theirs = await shop.value('SELECT min(order_id) FROM orders WHERE tenant_id = $1', b.id);
    assert.deepEqual(await call(sessions[0], { authorization }, `UPDATE orders SET amount = amount WHERE order_id = ${theirs} RETURNING *`), []);
    await rejects(call(sessions[1], { authorization }, `INSERT INTO lines (order_id, product, owner) VALUES (${theirs}, 'x', 'x')`), '42501');
  });

  test('I34: an application login by membership of the login alone leaves no residue', async () => {
    await rejects(call(sessions[0], { authorization: `Bearer ${await a.token()}` }, 'CREATE TEMP TABLE orders (owner text)'), '42501', /not allowed for an application login/);
  });
});
