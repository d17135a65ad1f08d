// PgBouncer in transaction mode: many clients of many tenants, one login, two
// connections to the server.  Whatever a client does, no other sees its rows.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { prove, request } from './provider.mjs';
import { Shop } from './shop.mjs';

const PGBOUNCER = '/usr/sbin/pgbouncer';
const PORT = 6432;
const SERVERS = 2;
const CLIENTS = 200;
const TENANTS = 20;
const ROUNDS = 20;

/** A PgBouncer of one test file: its directory holds socket, settings and log. */
class Bouncer {
  static async start(login, settings = {}) {
    const self = new Bouncer();
    self.dir = mkdtempSync(join(tmpdir(), 'bouncer-'));
    const file = name => join(self.dir, name);
    const [, major, minor] = /PgBouncer (\d+)\.(\d+)/.exec(execFileSync(PGBOUNCER, ['--version'], { encoding: 'utf8' }));
    // from 1.21 on it carries named statements from one server connection to the next
    self.named = Number(major) > 1 || Number(minor) >= 21;
    const all = {
      unix_socket_dir: self.dir, listen_port: PORT, listen_addr: '', logfile: file('log'),
      auth_type: 'trust', auth_file: file('users'), admin_users: login,
      pool_mode: 'transaction', default_pool_size: SERVERS, max_client_conn: CLIENTS + 50,
      ...self.named && { max_prepared_statements: 100 },
      ...settings,
    };
    writeFileSync(file('users'), `"${login}" ""\n`);
    writeFileSync(file('ini'), [
      '[databases]', `* = host=${process.env.PGHOST} port=${process.env.PGPORT ?? 5432}`,
      '[pgbouncer]', ...Object.entries(all).map(([name, value]) => `${name} = ${value}`), '',
    ].join('\n'));
    self.process = spawn(PGBOUNCER, ['-q', file('ini')], { stdio: 'ignore' });
    for (let tries = 0; !existsSync(file(`.s.PGSQL.${PORT}`)); tries++) {
      if (tries > 100 || self.process.exitCode !== null) {
        const log = existsSync(file('log')) ? readFileSync(file('log'), 'utf8') : 'it wrote no log';
        throw new Error(`PgBouncer did not start: ${log}`);
      }
      await sleep(50);
    }
    return self;
  }

  get options() {
    return { host: this.dir, port: PORT };
  }

  async stop() {
    if (this.process.exitCode === null) {
      this.process.kill('SIGQUIT');
      await once(this.process, 'exit');
    }
    rmSync(this.dir, { recursive: true });
  }
}

let shop, bouncer;

before(async () => {
  shop = await Shop.create(TENANTS);
  bouncer = await Bouncer.start(shop.login);
});
after(async () => {
  await bouncer?.stop();
  await shop?.drop();
});

const connect = () => shop.app(bouncer.options);
const code = async promise => {
  try {
    await promise;
    return 'ok';
  } catch (error) {
    return error.code;
  }
};

/** Random numbers that a seed repeats (mulberry32). */
function random(seed) {
  return n => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), seed | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % n;
  };
}

/** One of the clients: a user of one tenant, on a connection that may break. */
class Customer {
  static served = new Map(); // server process -> the tenants that it has served
  static done = 0;
  static broken = 0;

  constructor(number, pick) {
    this.pick = pick;
    this.tenant = shop.tenants[pick(TENANTS)];
    this.other = shop.tenants[(this.tenant.number + 1 + pick(TENANTS - 1)) % TENANTS];
    this.number = number;
  }

  async open() {
    this.client = await connect();
  }

  /** Disconnect without a word. */
  async vanish() {
    this.client.connection.stream.destroy();
    shop.forget(this.client);
    Customer.broken++;
    await this.open();
  }

  async proof() {
    return this.pick(3) ? this.tenant.shared : this.tenant.token();
  }

  /** Everything that one read returns is the tenant's own, and all of it is there. */
  async read() {
    const sql = `SELECT pg_backend_pid() AS pid, c.tenant_id, c.owner AS c, o.owner AS o, l.owner AS l, count(*) OVER () AS n
      FROM customers c JOIN orders o USING (customer_id) JOIN lines l USING (order_id) WHERE l.product = $1`;
    const named = bouncer.named && this.pick(2) ? { name: 'read' } : {};
    const { rows } = await this.client.query({ text: sql, values: ['product 1'], ...named });
    assert.equal(rows.length, this.tenant.orders);
    for (const row of rows) {
      assert.equal(row.tenant_id, this.tenant.id);
      assert.deepEqual([row.c, row.o, row.l], Array(3).fill(this.tenant.slug));
    }
    if (!Customer.served.has(rows[0].pid)) Customer.served.set(rows[0].pid, new Set());
    Customer.served.get(rows[0].pid).add(this.tenant.slug);
  }

  async readsNothing() {
    const { rows: [row] } = await this.client.query(`SELECT (SELECT count(*) FROM customers)::int AS c, (SELECT count(*) FROM orders)::int AS o,
      (SELECT count(*) FROM lines)::int AS l, bulwark.tenant_id() AS tenant, bulwark.identity() AS identity`);
    assert.deepEqual(row, { c: 0, o: 0, l: 0, tenant: null, identity: null });
  }

  /** A request that fails with that SQLSTATE after it has proved who it is. */
  async fails(expected, ...sql) {
    assert.equal(await code(request(this.client, await this.proof(), async () => {
      await this.read();
      await this.client.query(...sql);
    })), expected);
  }

  static acts = {
    async reads() { await request(this.client, await this.proof(), () => this.read()); },
    async reads_again() { await request(this.client, await this.proof(), async () => { await this.read(); await this.read(); }); },
    async reads_without() { await this.readsNothing(); },
    async reads_without_in_transaction() { await request(this.client, null, () => this.readsNothing()); },
    async writes() {
      await request(this.client, await this.proof(), async () => {
        const { rows: [row] } = await this.client.query(
          "INSERT INTO customers (name, owner) VALUES ('written', $1) RETURNING tenant_id, customer_id", [this.tenant.slug]);
        assert.equal(row.tenant_id, this.tenant.id);
        const { rowCount } = await this.client.query("DELETE FROM customers WHERE name = 'written' AND customer_id = $1", [row.customer_id]);
        assert.equal(rowCount, 1);
      });
    },
    async rolls_back() {
      await this.client.query('BEGIN');
      await prove(this.client, await this.proof());
      const { rowCount } = await this.client.query('UPDATE orders SET amount = 0');
      assert.equal(rowCount, this.tenant.orders);
      await this.client.query('ROLLBACK');
      await this.readsNothing();
    },
    async rolls_back_to_a_savepoint() {
      await request(this.client, null, async () => {
        await this.client.query('SAVEPOINT s');
        await prove(this.client, await this.proof());
        await this.read();
        await this.client.query('ROLLBACK TO s');
        await this.readsNothing();
        await prove(this.client, await this.proof());
        await this.read();
      });
    },
    async divides_by_zero() { await this.fails('22012', 'SELECT 1 / (amount - amount) FROM orders'); },
    async breaks_a_rule() { await this.fails('23514', 'UPDATE orders SET amount = -1'); },
    async plants_a_row() {
      await this.fails('42501', "INSERT INTO customers (tenant_id, name, owner) VALUES ($1, 'planted', 'x')", [this.other.id]);
    },
    async switches() { await this.fails('55000', "SELECT set_config('bulwark.ticket', $1, true)", [this.other.shared]); },
    async forges() {
      assert.equal(await code(request(this.client, this.other.shared.replace(/.$/, c => c === 'A' ? 'B' : 'A'), () => this.read())), '28000');
    },
    async keeps_a_ticket() {
      // a SET for the session, as in a script, serves nobody once its transaction is over
      await this.client.query(`SET bulwark.ticket = '${this.tenant.shared}'`);
      await this.readsNothing();
    },
    async resets() { await this.client.query(['RESET ALL', 'DISCARD ALL', 'RESET bulwark.ticket'][this.pick(3)]); },
    async vanishes_in_a_transaction() {
      await this.client.query('BEGIN');
      await prove(this.client, await this.proof());
      await this.read();
      await this.vanish();
    },
    async vanishes_in_a_statement() {
      await this.client.query('BEGIN');
      await prove(this.client, await this.proof());
      this.client.query('SELECT pg_sleep(0.02), * FROM orders LIMIT 3').catch(() => {});
      await sleep(5);
      await this.vanish();
    },
    async vanishes_in_an_error() {
      await this.client.query('BEGIN');
      await prove(this.client, await this.proof());
      await code(this.client.query('SELECT * FROM nothing'));
      await this.vanish();
    },
  };

  // reading is most of what clients do, and vanishing costs a connection each
  static likely = Object.keys(Customer.acts).flatMap(name => Array(name.startsWith('reads') ? 8 : /^vanishes/.test(name) ? 1 : 3).fill(name));

  async live() {
    for (let round = 0; round < ROUNDS; round++) {
      const act = Customer.likely[this.pick(Customer.likely.length)];
      try {
        await Customer.acts[act].call(this);
      } catch (error) {
        this.client.connection.stream.destroy(); // what it holds of the server, others wait for
        shop.forget(this.client);
        error.message = `client ${this.number} of ${this.tenant.slug}, round ${round}, ${act}: ${error.message}`;
        throw error;
      }
      Customer.done++;
    }
  }
}

describe('I14: PgBouncer in transaction mode', () => {
  test(`I14: ${CLIENTS} clients of ${TENANTS} tenants on ${SERVERS} connections: never a row of another`, { timeout: 120000 }, async t => {
    const seed = Number(process.env.SEED ?? Date.now() % 1e9);
    t.diagnostic(`SEED=${seed}`);
    shop.tenants.forEach((tenant, number) => { tenant.number = number; });
    const first = await connect();
    for (const tenant of shop.tenants) tenant.shared = await tenant.ticket(first);
    const customers = Array.from({ length: CLIENTS }, (_, n) => new Customer(n, random(seed + n)));
    await Promise.all(customers.map(customer => customer.open()));

    let most = 0, watching = true;
    const watch = (async () => {
      const console = await shop.app({ ...bouncer.options, database: 'pgbouncer' });
      for (; watching; await sleep(100)) most = Math.max(most, (await console.query('SHOW SERVERS')).rowCount);
    })();
    const began = Date.now();
    const results = await Promise.allSettled(customers.map(customer => customer.live()));
    watching = false;
    await watch;
    t.diagnostic(`${Customer.done} requests in ${Date.now() - began} ms, ${Customer.broken} disconnects`);

    assert.deepEqual(results.filter(r => r.status === 'rejected').map(r => r.reason.message).slice(0, 5), []);
    assert.equal(Customer.done, CLIENTS * ROUNDS);
    assert.ok(Customer.broken > 0);
    // the connections were shared indeed
    assert.ok(most <= SERVERS, `${most} connections to the server at once`);
    assert.ok(Math.max(...[...Customer.served.values()].map(tenants => tenants.size)) >= TENANTS / 2);
    // and nothing was written that should not be
    assert.equal(await shop.value("SELECT count(*)::int FROM customers WHERE name IN ('planted', 'written')"), 0);
    assert.equal(await shop.value('SELECT count(*)::int FROM orders WHERE amount = 0'), 0);
  });
});

describe('I34: what a client would leave to the next', () => {
  let one, a, b;
  before(async () => {
    // one connection to the server, so that each client follows the other on it
    one = await Bouncer.start(shop.login, { default_pool_size: 1 });
    [a, b] = shop.tenants;
  });
  after(() => one?.stop());
  const pair = () => Promise.all([shop.app(one.options), shop.app(one.options)]);
  const pid = async client => (await client.query('SELECT pg_backend_pid() AS pid')).rows[0].pid;

  test('both clients have the same server connection', async () => {
    const [first, second] = await pair();
    assert.equal(await pid(first), await pid(second));
  });

  const residue = {
    'a temporary table': "CREATE TEMP TABLE orders AS SELECT 'x' AS owner",
    'a temporary view': "CREATE TEMP VIEW orders AS SELECT 'x' AS owner",
    'an object in pg_temp': 'CREATE TABLE pg_temp.orders (owner text)',
    'a function in pg_temp': "CREATE FUNCTION pg_temp.f() RETURNS text LANGUAGE sql AS 'SELECT 1'",
    'a prepared statement': "PREPARE mine AS SELECT 'x'",
    'a cursor WITH HOLD': 'DECLARE held CURSOR WITH HOLD FOR SELECT * FROM orders',
    'LISTEN': 'LISTEN news',
    'search_path': "SET search_path = pg_temp, public",
    'search_path by set_config()': "SELECT set_config('search_path', 'pg_temp', false)",
    'a role': 'SET ROLE bulwark_app',
    'row_security': 'SET row_security = off',
    'settings of later sessions': 'ALTER ROLE CURRENT_USER SET search_path = pg_temp',
    'a prepared statement from PL/pgSQL': "DO $$ BEGIN EXECUTE 'PREPARE mine AS SELECT 1'; END $$",
  };
  for (const [what, sql] of Object.entries(residue))
    test(`I34: ${what} is refused to A, and B finds nothing of it`, async () => {
      const [first, second] = await pair();
      const before = await shop.value('SELECT setconfig FROM pg_db_role_setting WHERE setrole = $1::regrole', shop.login);
      await assert.rejects(request(first, await a.token(), () => first.query(sql)), { code: '42501' });
      await request(second, await b.token(), async () => {
        const { rows } = await second.query('SELECT owner FROM orders');
        assert.equal(rows.length, b.orders);
        assert.ok(rows.every(row => row.owner === b.slug));
        const { rows: [state] } = await second.query(`SELECT current_setting('search_path') AS path, current_setting('role') AS role,
          current_setting('row_security') AS rls, (SELECT count(*)::int FROM pg_prepared_statements WHERE name <> '') AS prepared,
          (SELECT count(*)::int FROM pg_cursors WHERE is_holdable) AS cursors, (SELECT count(*)::int FROM pg_listening_channels()) AS channels`);
        assert.deepEqual(state, { path: '"$user", public', role: 'none', rls: 'on', prepared: 0, cursors: 0, channels: 0 });
      });
      assert.equal(await shop.value('SELECT setconfig FROM pg_db_role_setting WHERE setrole = $1::regrole', shop.login), before);
    });

  test('I34: settings for the transaction are the transaction\'s', async () => {
    const [first, second] = await pair();
    await request(first, await a.token(), () => first.query("SET LOCAL search_path = pg_catalog; SET LOCAL work_mem = '1MB'"));
    assert.equal((await second.query('SHOW search_path')).rows[0].search_path, '"$user", public');
  });

  test('I13: DISCARD ALL, RESET ALL and RESET ROLE work between transactions, and leave no identity', async () => {
    const [first, second] = await pair();
    for (const sql of ['DISCARD ALL', 'RESET ALL', 'RESET ROLE', 'RESET SESSION AUTHORIZATION', 'RESET bulwark.ticket', 'DISCARD PLANS', 'DISCARD TEMP']) {
      await request(first, await a.token(), () => first.query('SELECT * FROM orders'));
      await first.query(sql);
      assert.equal((await second.query('SELECT * FROM orders')).rowCount, 0);
    }
    await request(second, await b.token(), async () => assert.equal((await second.query('SELECT * FROM orders')).rowCount, b.orders));
  });

  test('I13: RESET ALL in a transaction drops the identity, and no other can follow', async () => {
    const [first, second] = await pair();
    const other = await b.ticket(second);
    await first.query('BEGIN');
    await prove(first, await a.token());
    await first.query('RESET ALL');
    assert.equal((await first.query('SELECT * FROM orders')).rowCount, 0);
    await assert.rejects(prove(first, other), { code: '55000' });
    await first.query('ROLLBACK');
  });

  test('I34: a statement that A left under its name runs as whoever runs it', async () => {
    const [first, second] = await pair();
    const statement = { name: 'remembered', text: 'SELECT owner FROM orders' };
    await request(first, await a.token(), async () => assert.equal((await first.query(statement)).rowCount, a.orders));
    await request(second, await b.token(), async () => {
      // PgBouncer before 1.21 leaves it on the server's connection, where SQL reaches it
      const sql = one.named ? statement : 'EXECUTE remembered';
      const { rows } = await second.query(sql);
      assert.equal(rows.length, b.orders);
      assert.ok(rows.every(row => row.owner === b.slug));
    });
    assert.equal((await second.query(one.named ? statement : 'EXECUTE remembered')).rowCount, 0);
    await second.query('DISCARD ALL');
  });
});
