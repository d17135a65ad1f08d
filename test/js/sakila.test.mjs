// Sakila, pooled (a tenant for each store) and dedicated (one tenant, an
// affiliation for each store): every identity reads and writes its own rows, to
// the row, and what is not set up for that is reported.  And audited: what an
// application changes is what is recorded.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { request } from './provider.mjs';
import { CHILDREN, COMMON, OWN, Sakila, VIEWS, byHand, missing } from './sakila.mjs';
import { verifyExport } from './verifier.mjs';

const counts = reads => Object.fromEntries(Object.entries(reads).map(([name, { n }]) => [name, n]));
const names = [...OWN, 'rental', 'payment', ...CHILDREN, ...COMMON, ...Object.keys(VIEWS)];
const nothing = Object.fromEntries(names.map(name => [name, 0]));
const children = (...n) => Object.fromEntries(CHILDREN.map((name, i) => [name, n[i] ?? 0]));

// What is no store's, and reports that have a line for each category or store.
const common = {
  actor: 200, category: 16, city: 600, country: 109, film: 1000, film_actor: 5462, film_category: 1000, language: 6,
  actor_info: 200, film_list: 997, nicer_but_slower_film_list: 997, sales_by_film_category: 16,
};
const storeOne = { ...common, store: 1, staff: 1, customer: 326, inventory: 2270, address: 328, customer_list: 326, staff_list: 1, sales_by_store: 1 };
const storeTwo = { ...common, store: 1, staff: 1, customer: 273, inventory: 2311, address: 275, customer_list: 273, staff_list: 1, sales_by_store: 1 };
const everything = {
  ...common, store: 2, staff: 2, customer: 599, inventory: 4581, address: 603, customer_list: 599, staff_list: 2, sales_by_store: 2,
  rental: 16044, payment: 16049, ...children(2312, 6711, 5687),
};

/** Requests of people in a database, most of them rolled back. */
class People {
  constructor(db, app) {
    Object.assign(this, { db, app });
    this.tickets = {};
  }

  async join(name, tenant, ...memberships) {
    this.tickets[name] = await this.db.provider.ticket(this.app, await this.db.provider.person(...memberships), tenant);
  }

  as(name, work) {
    return request(this.app, this.tickets[name] ?? null, () => work(this.app));
  }

  seen(name) {
    return this.as(name, () => this.db.seen(this.app));
  }

  async value(name, sql, ...values) {
    const { rows, fields } = await this.as(name, app => app.query({ text: sql, values, rowMode: 'array' }));
    return fields.length > 1 || rows.length > 1 ? rows : rows[0]?.[0];
  }

  /** How many rows a statement would change. */
  async changes(name, sql, ...values) {
    await this.app.query('BEGIN');
    try {
      if (this.tickets[name]) await this.app.query("SELECT set_config('bulwark.ticket', $1, true)", [this.tickets[name]]);
      return (await this.app.query(sql, values)).rowCount;
    } finally {
      await this.app.query('ROLLBACK');
    }
  }

  async refuses(name, code, sql, ...values) {
    await assert.rejects(this.changes(name, sql, ...values), error => {
      assert.equal(error.code, code, `${error.message} (${sql})`);
      return true;
    });
  }
}

/** What isolation_check() finds: check -> [[relation or null, status, detail]]. */
async function findings(db) {
  const { rows } = await db.admin.query("SELECT relation::text, check_name, status, detail FROM bulwark.isolation_check() WHERE status <> 'ok' ORDER BY 1, 2, 4");
  const found = new Map();
  for (const { relation, check_name: check, status, detail } of rows) found.set(check, [...found.get(check) ?? [], [relation, status, detail]]);
  return check => found.get(check) ?? [];
}

const RENTAL = 'INSERT INTO rental (rental_date, inventory_id, customer_id, staff_id) VALUES (now(), $1, $2, $3)';
const PAYMENT = table => `INSERT INTO ${table} (customer_id, staff_id, rental_id, amount, payment_date) VALUES ($1, $2, $3, 1.99, $4)`;

// MySQL's IF(), without which get_customer_balance() does not run in PostgreSQL:
// the days of an interval where the condition holds.
const IF = `CREATE FUNCTION "if"(boolean, interval, integer) RETURNS integer LANGUAGE sql IMMUTABLE
  AS 'SELECT CASE WHEN $1 THEN extract(day FROM $2)::integer ELSE $3 END'`;

// rewards_report() without a temporary table, which a shared session must not have.
const REWARDS = `CREATE OR REPLACE FUNCTION rewards_report(min_monthly_purchases integer, min_dollar_amount_purchased numeric)
  RETURNS SETOF customer LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT c.* FROM customer c WHERE (SELECT sum(p.amount) > $2 AND count(*) > $1 FROM payment p WHERE p.customer_id = c.customer_id
      AND p.payment_date >= date_trunc('month', current_date - interval '3 months')
      AND p.payment_date < date_trunc('month', current_date - interval '2 months')) $$`;

describe('Sakila, pooled: a tenant for each store', { skip: missing }, () => {
  let db, people;

  before(async () => {
    db = await Sakila.create();
    const one = await db.tenant('store-one', { key: '1' });
    const two = await db.tenant('store-two', { key: '2' });
    people = new People(db, await db.app());
    await people.join('admin of one', 'store-one', [one, 'tenant_admin']);
    await people.join('admin of two', 'store-two', [two, 'tenant_admin']);
    await people.join('member of one', 'store-one', [one, 'member']);
    await people.join('member of two', 'store-two', [two, 'member']);
    await people.join('reader of one', 'store-one', [one, 'read_only']);
    const both = await db.provider.person([one, 'member'], [two, 'read_only']);
    for (const tenant of ['store-one', 'store-two'])
      people.tickets[`member of both, in ${tenant}`] = await db.provider.ticket(people.app, both, tenant);
  });
  after(() => db?.drop());

  test('protect_schema() tells what it can, and what only a person can', async () => {
    const { rows } = await db.admin.query("SELECT relation::text, kind, reason, statement FROM bulwark.protect_schema('public', 'store_id')");
    const kinds = {};
    for (const { relation, kind } of rows) kinds[relation] = kind;
    assert.deepEqual(kinds, {
      ...Object.fromEntries(OWN.map(table => [table, 'tenant'])),
      ...Object.fromEntries(COMMON.map(table => [table, 'undecided'])),
      rental: 'undecided', payment: 'undecided',
      ...Object.fromEntries(CHILDREN.map(table => [table, 'skip'])),
    });
    const why = table => rows.find(row => row.relation === table).reason;
    for (const key of ['rental_inventory_id_fkey', 'rental_customer_id_fkey', 'rental_staff_id_fkey']) assert.ok(why('rental').includes(key));
  });

  test('its plan can be executed, statement by statement', async () => {
    const plan = "SELECT statement FROM bulwark.protect_schema('public', 'store_id') WHERE kind = 'tenant' AND statement IS NOT NULL";
    for (const { statement } of (await db.admin.query(plan)).rows) await db.admin.query(statement);
    // what it left to us: see sakila.mjs
    for (const table of COMMON) await db.value('SELECT bulwark.protect($1, shared => true)', table);
    await db.value("SELECT bulwark.protect('rental', parent => 'inventory')");
    await db.value("SELECT bulwark.protect('payment', parent => 'rental')");
    assert.deepEqual((await db.admin.query(plan)).rows, []);
    const kinds = await db.value("SELECT jsonb_object_agg(relation::text, kind || coalesce(' of ' || parent::text, '')) FROM bulwark.protected_tables");
    assert.deepEqual(kinds, {
      ...Object.fromEntries(OWN.map(table => [table, 'tenant'])), ...Object.fromEntries(COMMON.map(table => [table, 'shared'])),
      rental: 'child of inventory', ...Object.fromEntries(['payment', ...CHILDREN].map(table => [table, 'child of rental'])),
    });
  });

  describe('as a superuser\'s schema', () => {
    let found;
    before(async () => { found = await findings(db); });

    test('I21: definer views show both stores\' rows, and isolation_check() says so', async () => {
      assert.equal(await people.value('member of one', 'SELECT count(*)::int FROM customer'), 326);
      assert.equal(await people.value('member of one', 'SELECT count(*)::int FROM customer_list'), 599);
      for (const view of Object.keys(VIEWS))
        assert.ok(found('views').some(([, status, detail]) => status === 'fail' && detail.includes(`View public.${view} `)), view);
    });

    test('I21: a rule writes no row of the other store\'s, though its owner might', async () => {
      const theirs = await db.value('SELECT min(rental_id) FROM rental JOIN inventory USING (inventory_id) WHERE store_id = 2');
      for (const date of ['2005-01-15', '2007-05-15']) await people.refuses('member of one', '42501', PAYMENT('payment'), 1, 1, theirs, date);
      assert.deepEqual(found('rules').map(([relation]) => relation), Array(6).fill('payment'));
    });

    test('I21: a definer function of a superuser with its caller\'s search_path is reported', () => {
      const named = ([, , detail]) => detail.includes('public.rewards_report(integer,numeric)');
      assert.equal(found('definer_search_path').find(named)[1], 'fail');
      assert.equal(found('definer_functions').find(named)[1], 'warning');
    });
  });

  describe('with an owner of its own and invoker views', () => {
    let found, untouched;
    const contents = () => db.value(`SELECT string_agg(md5(t), ',') FROM unnest($1::text[]) AS n,
      LATERAL (SELECT query_to_xml('SELECT * FROM ' || n || ' ORDER BY 1', true, true, '')::text AS t) x`, [...OWN, ...COMMON, 'rental', 'payment']);

    before(async () => {
      await db.disown();
      await db.invokerViews();
      found = await findings(db);
      untouched = await contents();
    });

    test('I21: isolation_check() finds no view any more', () => assert.deepEqual(found('views'), []));

    test('I26: isolation_check() reports the rows that join two stores, and their number', async () => {
      const joined = found('foreign_keys').map(([relation, status, detail]) => [relation, status, /(\w+_fkey)\b.*?: (\d+)\b/.exec(detail)?.slice(1)]);
      const plain = async sql => String(await db.value(sql));
      const expected = [];
      for (const table of ['payment', ...CHILDREN.slice(0, 3), 'rental'])
        for (const to of ['customer', 'staff'])
          expected.push([table, 'fail', [`${table}_${to}_id_fkey`, await plain(`SELECT count(*) FROM ONLY ${table} t ${table === 'rental' ? '' : 'JOIN rental r USING (rental_id)'}
            JOIN inventory i USING (inventory_id) JOIN ${to} x ON x.${to}_id = t.${to}_id WHERE x.store_id <> i.store_id`)]]);
      assert.deepEqual(joined.sort(), expected.sort());
      assert.deepEqual(joined.filter(([table]) => table === 'rental').map(([, , [, n]]) => n).sort(), ['7981', '8018']);
    });

    const sees = {
      'admin of one': [1], 'member of one': [1], 'reader of one': [1], 'member of both, in store-one': [1],
      'admin of two': [2], 'member of two': [2], 'member of both, in store-two': [2],
    };
    const literal = {
      1: { ...storeOne, rental: 7923, payment: 7928, ...children(1122, 3336, 2802) },
      2: { ...storeTwo, rental: 8121, payment: 8121, ...children(1190, 3375, 2885) },
    };
    let expected;
    before(async () => {
      expected = { 1: await db.expected([1], 'inventory'), 2: await db.expected([2], 'inventory'), all: await db.expected([1, 2], 'inventory') };
    });

    test('the stores\' rows are all there are', () => {
      assert.deepEqual(counts(expected.all), everything);
      for (const table of [...OWN, 'rental', 'payment', ...CHILDREN])
        assert.equal(expected[1][table].n + expected[2][table].n, expected.all[table].n, table);
    });

    for (const [name, [store]] of Object.entries(sees))
      test(`${name} sees store ${store}, to the row, in tables, children and views`, async () => {
        const seen = await people.seen(name);
        assert.deepEqual(counts(seen), literal[store]);
        assert.deepEqual(seen, expected[store]);
      });

    test('I27: nobody sees nothing, of shared tables too', async () => {
      assert.deepEqual(counts(await people.seen('nobody')), nothing);
    });

    test('the sales of a store are those of its films', async () => {
      assert.deepEqual(await people.value('member of one', 'SELECT store, manager, total_sales FROM sales_by_store'), [['Lethbridge,Canada', 'Mike Hillyer', '33689.74']]);
      assert.deepEqual(await people.value('member of two', 'SELECT store, manager, total_sales FROM sales_by_store'), [['Woodridge,Australia', 'Jon Stephens', '33726.77']]);
      assert.equal(await people.value('member of one', 'SELECT sum(amount) FROM ONLY payment'),
        await db.value(`${byHand([1], 'inventory')} SELECT sum(amount) FROM payment p WHERE EXISTS (SELECT FROM ONLY public.payment o WHERE o.payment_id = p.payment_id)`));
    });

    test('the stock of a store is exact, another\'s is as if there were none', async () => {
      const all = "SELECT array_agg(i ORDER BY i) FROM film f, film_in_stock(f.film_id, $1) i WHERE f.film_id <= 100";
      for (const [name, own, other] of [['member of one', 1, 2], ['member of two', 2, 1]]) {
        const stock = await db.value(all, own);
        assert.ok(stock.length > 100);
        assert.deepEqual(await people.value(name, all, own), stock);
        assert.equal(await people.value(name, all, other), null);
        // films that are out: known to their store only
        const out = 'SELECT count(*)::int FROM inventory WHERE NOT inventory_in_stock(inventory_id)';
        assert.equal(await people.value(name, out), await db.value(`${out} AND store_id = ${own}`));
        const held = await db.value(`SELECT array_agg(inventory_id) FROM rental JOIN inventory USING (inventory_id) WHERE return_date IS NULL AND store_id = ${other}`);
        assert.equal(await people.value(name, 'SELECT count(inventory_held_by_customer(i))::int FROM unnest($1::int[]) i', held), 0);
        assert.equal(await people.value(name, 'SELECT bool_and(inventory_in_stock(i)) FROM unnest($1::int[]) i', held), true);
      }
    });

    test('rewards_report(): refused as it was, for its temporary table; rewritten, to the tenant\'s customers though a definer\'s', async () => {
      await people.refuses('member of one', '42501', 'SELECT * FROM rewards_report(1, 1)');
      await db.admin.query(REWARDS);
      await db.admin.query(`INSERT INTO payment (customer_id, staff_id, rental_id, amount, payment_date)
        SELECT customer_id, manager_staff_id, rental_id, 100, date_trunc('month', current_date - interval '3 months') + interval '10 days'
        FROM rental JOIN inventory USING (inventory_id) JOIN store USING (store_id) JOIN customer USING (customer_id, store_id)
        WHERE customer_id IN (1, 2, 4, 6)`);
      try {
        const report = 'SELECT array_agg(customer_id ORDER BY customer_id) FROM rewards_report(2, 200)';
        assert.deepEqual(await people.value('member of one', report), [1, 2]);
        assert.deepEqual(await people.value('member of two', report), [4, 6]);
        assert.equal(await people.value('nobody', report), null);
        assert.equal(await db.value(report), null); // a superuser calls it, its owner reads
      } finally {
        await db.admin.query('DELETE FROM ONLY payment WHERE amount = 100');
      }
      assert.ok(!(await findings(db))('definer_search_path').some(([, , detail]) => detail.includes('rewards_report')));
    });

    describe('writes', () => {
      let mine, theirs;
      before(async () => {
        const some = store => db.value(`SELECT jsonb_build_object('inventory', i.inventory_id, 'rental', r.rental_id, 'customer', c.customer_id, 'staff', s.staff_id)
          FROM inventory i JOIN rental r USING (inventory_id) JOIN customer c USING (customer_id) JOIN staff s ON s.store_id = i.store_id
          WHERE i.store_id = ${store} AND c.store_id = ${store} ORDER BY r.rental_id LIMIT 1`);
        [mine, theirs] = [await some(1), await some(2)];
      });

      test('a rental: of own film, to own customer, by own staff', async () => {
        assert.equal(await people.changes('member of one', RENTAL, mine.inventory, mine.customer, mine.staff), 1);
        await people.refuses('member of one', '42501', RENTAL, theirs.inventory, mine.customer, mine.staff);
        await people.refuses('member of one', '42501', RENTAL, theirs.inventory, theirs.customer, theirs.staff);
      });

      test('I26: to the other store\'s customer or by its staff it is refused as if there were none', async () => {
        for (const row of [[mine.inventory, theirs.customer, mine.staff], [mine.inventory, mine.customer, theirs.staff], [mine.inventory, 99999, mine.staff]])
          await people.refuses('member of one', '23503', RENTAL, ...row);
      });

      test('a payment goes where the rules send it, for own rentals only', async () => {
        for (const [date, child] of [['2005-07-07', 'payment'], ['2007-01-15', 'payment_p2007_01'], ['2007-05-15', 'payment_p2007_05'], ['2007-07-15', 'payment']])
          await assert.rejects(people.as('member of one', async app => {
            await app.query(PAYMENT('payment'), [mine.customer, mine.staff, mine.rental, date]);
            const { rows } = await app.query('SELECT tableoid::regclass::text AS place, rental_id FROM payment WHERE amount = 1.99 AND payment_date = $1', [date]);
            assert.deepEqual(rows, [{ place: child, rental_id: mine.rental }]);
            throw new RangeError('roll it back');
          }), RangeError);
        for (const date of ['2005-07-07', '2007-01-15', '2007-05-15']) {
          await people.refuses('member of one', '42501', PAYMENT('payment'), mine.customer, mine.staff, theirs.rental, date);
          await people.refuses('member of one', '23503', PAYMENT('payment'), theirs.customer, mine.staff, mine.rental, date);
          await people.refuses('member of one', '23503', PAYMENT('payment'), mine.customer, theirs.staff, mine.rental, date);
        }
      });

      test('I20: the same in a child directly', async () => {
        assert.equal(await people.changes('member of one', PAYMENT('payment_p2007_06'), mine.customer, mine.staff, mine.rental, '2007-06-15'), 1);
        await people.refuses('member of one', '42501', PAYMENT('payment_p2007_06'), mine.customer, mine.staff, theirs.rental, '2007-06-15');
        await people.refuses('member of one', '23503', PAYMENT('payment_p2007_06'), theirs.customer, mine.staff, mine.rental, '2007-06-15');
      });

      test('UPDATE and DELETE without WHERE change own rows, as many as are seen', async () => {
        for (const [name, store] of [['member of one', 1], ['member of two', 2]]) {
          assert.equal(await people.changes(name, 'UPDATE customer SET activebool = false'), literal[store].customer);
          assert.equal(await people.changes(name, "UPDATE address SET district = ''"), literal[store].address);
          assert.equal(await people.changes(name, 'UPDATE rental SET return_date = now()'), literal[store].rental);
          assert.equal(await people.changes(name, 'UPDATE payment_p2007_01 SET amount = 0'), literal[store].payment_p2007_01);
          assert.equal(await people.changes(name, 'DELETE FROM payment'), literal[store].payment);
          for (const child of CHILDREN) assert.equal(await people.changes(name, `DELETE FROM ${child}`), literal[store][child]);
        }
      });

      test('I24: no row moves to the other store', async () => {
        await people.refuses('member of one', '42501', 'UPDATE customer SET store_id = 2');
        await people.refuses('member of both, in store-one', '42501', 'UPDATE inventory SET store_id = 2 WHERE inventory_id = $1', mine.inventory);
        await people.refuses('member of one', '42501', 'UPDATE rental SET inventory_id = $2 WHERE rental_id = $1', mine.rental, theirs.inventory);
        await people.refuses('member of one', '42501', 'UPDATE payment SET rental_id = $2 WHERE rental_id = $1', mine.rental, theirs.rental);
        await people.refuses('member of one', '23503', 'UPDATE rental SET customer_id = $2 WHERE rental_id = $1', mine.rental, theirs.customer);
        await people.refuses('member of one', '42501', "INSERT INTO customer (store_id, first_name, last_name, address_id) VALUES (2, 'a', 'b', 5)");
        assert.equal(await people.changes('member of one', 'UPDATE rental SET return_date = now() WHERE rental_id = $1', theirs.rental), 0);
      });

      test('an application that knows nothing of the new column writes addresses of its own store', async () => {
        await assert.rejects(people.as('member of two', async app => {
          const { rows: [{ address_id: id, store_id: store }] } = await app.query(
            "INSERT INTO address (address, district, city_id, phone) VALUES ('1 New Street', 'x', 1, '') RETURNING *");
          assert.equal(store, 2);
          const { rows: [customer] } = await app.query("INSERT INTO customer (first_name, last_name, address_id) VALUES ('New', 'Customer', $1) RETURNING store_id", [id]);
          assert.equal(customer.store_id, 2);
          throw new RangeError('roll it back');
        }), RangeError);
        const theirs = await db.value('SELECT min(address_id) FROM address WHERE store_id = 1');
        await people.refuses('member of two', '23503', "INSERT INTO customer (first_name, last_name, address_id) VALUES ('a', 'b', $1)", theirs);
      });

      test('shared tables are read only, for a tenant\'s administrator too', async () => {
        for (const name of ['admin of one', 'member of one', 'reader of one', 'nobody']) {
          await people.refuses(name, '42501', "INSERT INTO category (name) VALUES ('x')");
          for (const table of COMMON) {
            assert.equal(await people.changes(name, `UPDATE ${table} SET last_update = now()`), 0);
            assert.equal(await people.changes(name, `DELETE FROM ${table}`), 0);
          }
        }
      });

      for (const name of ['reader of one', 'nobody', 'member of both, in store-two'])
        test(`I32: ${name} writes nothing`, async () => {
          const own = name.endsWith('two') ? theirs : mine;
          await people.refuses(name, '42501', RENTAL, own.inventory, own.customer, own.staff);
          for (const [table, date] of [['payment', '2005-01-01'], ['payment', '2007-02-02'], ['payment_p2007_02', '2007-02-02']])
            await people.refuses(name, '42501', PAYMENT(table), own.customer, own.staff, own.rental, date);
          await people.refuses(name, '42501', "INSERT INTO customer (store_id, first_name, last_name, address_id) VALUES (1, 'a', 'b', 5)");
          await people.refuses(name, '42501', 'INSERT INTO inventory (store_id, film_id) VALUES (1, 1)');
          for (const table of [...OWN, 'rental']) {
            assert.equal(await people.changes(name, `UPDATE ${table} SET last_update = now()`), 0, table);
            assert.equal(await people.changes(name, `DELETE FROM ${table}`), 0, table);
          }
          for (const table of ['payment', ...CHILDREN]) {
            assert.equal(await people.changes(name, `UPDATE ${table} SET amount = 0`), 0, table);
            assert.equal(await people.changes(name, `DELETE FROM ${table}`), 0, table);
          }
        });

      test('I22: TRUNCATE and COPY FROM are refused to everybody', async () => {
        for (const table of [...OWN, ...COMMON, 'rental', 'payment', ...CHILDREN]) {
          await people.refuses('admin of one', '42501', `TRUNCATE ${table} CASCADE`);
          await people.refuses('admin of one', '0A000', `COPY ${table} FROM STDIN`);
        }
      });

      test('none of it has left a trace', async () => assert.equal(await contents(), untouched));
    });

    describe('with the store kept in rentals and payments', () => {
      before(async () => {
        await db.admin.query("SELECT bulwark.unprotect('payment'), bulwark.unprotect('rental')");
        for (const [table, parent] of [['rental', 'inventory'], ['payment', 'rental']]) {
          await db.value('SELECT bulwark.protect($1, parent => $2, materialize => true)', table, parent);
          await db.admin.query(`CALL bulwark.materialize('${table}')`);
        }
      });

      test('each sees what it saw', async () => {
        assert.ok(await db.value("SELECT bool_and(materialized) FROM bulwark.protected_tables WHERE kind = 'child'"));
        for (const [name, store] of [['member of one', 1], ['member of two', 2]])
          assert.deepEqual(counts(await people.seen(name)), literal[store]);
        assert.deepEqual(counts(await people.seen('nobody')), nothing);
      });

      test('a payment that a rule sends on takes its store from its rental', async () => {
        const rental = store => db.value(`SELECT jsonb_build_object('rental', r.rental_id, 'customer', c.customer_id) FROM rental r
          JOIN inventory i USING (inventory_id) JOIN customer c USING (customer_id, store_id) WHERE store_id = ${store} ORDER BY 1 LIMIT 1`);
        const [mine, theirs] = [await rental(1), await rental(2)];
        await assert.rejects(people.as('member of one', async app => {
          await app.query(PAYMENT('payment'), [mine.customer, 1, mine.rental, '2007-05-15']);
          const { rows } = await app.query('SELECT bulwark_tenant FROM payment_p2007_05');
          assert.deepEqual(rows, [{ bulwark_tenant: 1 }]);
          throw new RangeError('roll it back');
        }), RangeError);
        for (const table of ['payment', 'payment_p2007_05'])
          await people.refuses('member of one', '42501', PAYMENT(table), theirs.customer, 1, theirs.rental, '2007-05-15');
      });
    });
  });
});

describe('Sakila, dedicated: one tenant, an affiliation for each store', { skip: missing }, () => {
  let db, people;

  before(async () => {
    db = await Sakila.create();
    await db.admin.query(IF);
    const tenant = await db.tenant('sakila');
    await db.value('SELECT bulwark.pin_tenant($1)', tenant);
    const [one, two] = [await db.value("SELECT bulwark.affiliation_create($1, 'store-one', 'Store 1', key => '1')", tenant),
      await db.value("SELECT bulwark.affiliation_create($1, 'store-two', 'Store 2', key => '2')", tenant)];
    await db.disown();
    await db.invokerViews();
    await db.admin.query("SELECT bulwark.protect_schema('public', 'tenant_id', 'store_id', dry_run => false)");
    await db.value("SELECT bulwark.protect('rental', parent => 'customer')");
    await db.value("SELECT bulwark.protect('payment', parent => 'customer')");
    people = new People(db, await db.app());
    await people.join('admin of the tenant', 'sakila', [tenant, 'tenant_admin']);
    await people.join('reader of the tenant', 'sakila', [tenant, 'read_only']);
    await people.join('admin of one', 'sakila', [tenant, 'admin', one]);
    await people.join('member of one', 'sakila', [tenant, 'member', one]);
    await people.join('member of two', 'sakila', [tenant, 'member', two]);
    await people.join('reader of one', 'sakila', [tenant, 'read_only', one]);
    await people.join('member of both', 'sakila', [tenant, 'member', one], [tenant, 'member', two]);
    await people.join('member of one, reader of two', 'sakila', [tenant, 'member', one], [tenant, 'read_only', two]);
    await people.join('auditor', 'sakila', [tenant, 'auditor']);
  });
  after(() => db?.drop());

  test('protect_schema() has protected all but what has two owners', async () => {
    const kinds = await db.value("SELECT jsonb_object_agg(relation::text, kind || coalesce(' of ' || parent::text, '')) FROM bulwark.protected_tables");
    assert.deepEqual(kinds, {
      ...Object.fromEntries(OWN.map(table => [table, 'affiliation'])), ...Object.fromEntries(COMMON.map(table => [table, 'tenant'])),
      ...Object.fromEntries(['rental', 'payment', ...CHILDREN].map(table => [table, 'child of customer'])),
    });
    const found = await findings(db);
    for (const check of ['views', 'policies', 'row_security', 'foreign_keys', 'children', 'protected']) assert.deepEqual(found(check), [], check);
  });

  const literal = {
    1: { ...storeOne, rental: 8747, payment: 8748, ...children(1243, 3678, 3091) },
    2: { ...storeTwo, rental: 7297, payment: 7301, ...children(1069, 3033, 2596) },
    '1,2': everything,
  };
  const expected = {};
  const sees = {
    'admin of the tenant': [1, 2], 'reader of the tenant': [1, 2], 'member of both': [1, 2], 'member of one, reader of two': [1, 2],
    'admin of one': [1], 'member of one': [1], 'reader of one': [1], 'member of two': [2],
  };
  for (const [name, stores] of Object.entries(sees))
    test(`${name} sees ${stores.length > 1 ? 'both stores' : `store ${stores}`}, to the row, in tables, children and views`, async () => {
      const seen = await people.seen(name);
      assert.deepEqual(counts(seen), literal[stores]);
      expected[stores] ??= await db.expected(stores, 'customer');
      assert.deepEqual(seen, expected[stores]);
    });

  for (const name of ['auditor', 'nobody'])
    test(`I27: ${name} sees nothing`, async () => assert.deepEqual(counts(await people.seen(name)), nothing));

  test('an identity of another tenant is refused', async () => {
    const other = await db.tenant('other', { key: '1000' });
    const person = await db.provider.person([other, 'tenant_admin']);
    await assert.rejects(db.provider.ticket(people.app, person, 'other'), { code: '28000' });
  });

  test('a customer\'s account, where all films are seen; of another store\'s customer, none', async () => {
    const balance = 'SELECT get_customer_balance($1, $2)';
    const [of1, of2] = [1, 4];
    const date = '2010-01-01';
    for (const customer of [of1, of2]) {
      const whole = await db.value(balance, customer, date);
      for (const name of ['admin of the tenant', 'member of both', 'reader of the tenant'])
        assert.equal(await people.value(name, balance, customer, date), whole);
    }
    assert.notEqual(await db.value(balance, of2, date), '0.00');
    assert.equal(await people.value('member of one', balance, of2, date), '0.00');
    assert.equal(await people.value('nobody', balance, of1, date), '0.00');
    // a member of one store sees all of what its customer paid, and the fees for the store's own films
    assert.equal(await people.value('member of one', 'SELECT sum(amount) FROM payment WHERE customer_id = $1', of1), '118.68');
    assert.equal(await people.value('member of two', 'SELECT sum(amount) FROM payment WHERE customer_id = $1', of1), null);
  });

  test('writes: a customer\'s rentals and payments by members of the customer\'s store', async () => {
    const some = store => db.value(`SELECT jsonb_build_object('inventory', inventory_id, 'rental', rental_id, 'customer', customer_id)
      FROM rental JOIN customer USING (customer_id) WHERE store_id = ${store} ORDER BY rental_id LIMIT 1`);
    const [mine, theirs] = [await some(1), await some(2)];
    for (const name of ['admin of the tenant', 'admin of one', 'member of one', 'member of both', 'member of one, reader of two']) {
      assert.equal(await people.changes(name, RENTAL, mine.inventory, mine.customer, 1), 1, name);
      for (const date of ['2005-07-07', '2007-02-15']) // the second by a rule: PostgreSQL counts such rows as none
        await people.changes(name, PAYMENT('payment'), mine.customer, 1, mine.rental, date);
      assert.equal(await people.changes(name, PAYMENT('payment_p2007_02'), mine.customer, 1, mine.rental, '2007-02-15'), 1, name);
    }
    for (const name of ['member of one', 'admin of one', 'member of one, reader of two', 'reader of one', 'reader of the tenant', 'auditor', 'nobody']) {
      await people.refuses(name, '42501', RENTAL, theirs.inventory, theirs.customer, 2);
      for (const [table, date] of [['payment', '2005-07-07'], ['payment', '2007-02-15'], ['payment_p2007_02', '2007-02-15']])
        await people.refuses(name, '42501', PAYMENT(table), theirs.customer, 2, theirs.rental, date);
    }
  });

  test('UPDATE and DELETE without WHERE change the rows of the stores that one may write', async () => {
    const writes = { 'admin of the tenant': [1, 2], 'member of both': [1, 2], 'admin of one': [1], 'member of one': [1], 'member of one, reader of two': [1], 'member of two': [2] };
    for (const [name, stores] of Object.entries(writes)) {
      const own = literal[stores];
      assert.equal(await people.changes(name, 'UPDATE customer SET activebool = false'), own.customer, name);
      assert.equal(await people.changes(name, 'UPDATE payment_p2007_01 SET amount = 0'), own.payment_p2007_01, name);
      assert.equal(await people.changes(name, 'DELETE FROM payment'), own.payment, name);
      assert.equal(await people.changes(name, 'DELETE FROM payment_p2007_02'), own.payment_p2007_02, name);
    }
    for (const name of ['reader of the tenant', 'reader of one', 'auditor', 'nobody'])
      for (const table of [...OWN, ...COMMON, 'rental']) {
        assert.equal(await people.changes(name, `UPDATE ${table} SET last_update = now()`), 0, `${name}, ${table}`);
        assert.equal(await people.changes(name, `DELETE FROM ${table}`), 0, `${name}, ${table}`);
      }
  });

  test('I24: a member of one store moves nothing to the other; who may write both, does', async () => {
    await people.refuses('member of one', '42501', 'UPDATE customer SET store_id = 2 WHERE customer_id = 1');
    await people.refuses('member of one, reader of two', '42501', 'UPDATE customer SET store_id = 2 WHERE customer_id = 1');
    assert.equal(await people.changes('member of both', 'UPDATE customer SET store_id = 2 WHERE customer_id = 1'), 1);
    assert.equal(await people.changes('admin of the tenant', 'UPDATE customer SET store_id = 2 WHERE customer_id = 1'), 1);
  });
});

describe('Sakila, audited', { skip: missing }, () => {
  let db, clerk, dir;
  const at = '2005-07-07 12:00:00';
  const tables = [...OWN, ...COMMON, 'rental', 'payment', ...CHILDREN];

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'bulwark-sakila-'));
    db = await Sakila.create();
    clerk = await db.app();
  });
  after(async () => {
    await db?.drop();
    rmSync(dir, { recursive: true });
  });

  /** In a transaction of its own. */
  const work = (...statements) => request(clerk, null, async () => {
    for (const [sql, ...values] of statements) await clerk.query(sql, values);
  });
  const exported = async () => (await db.admin.query("SELECT bulwark.ledger_export('jsonl') AS line")).rows.map(row => row.line);

  test('audit_schema() audits every table, the children of payment with it', async () => {
    const { rows } = await db.admin.query("SELECT relation::text FROM bulwark.audit_schema('public', dry_run => false)");
    assert.ok(rows.length > 0);
    assert.deepEqual((await db.admin.query('SELECT relation::text FROM bulwark_internal.ledger_audited ORDER BY relation::text COLLATE "C"')).rows.map(row => row.relation), [...tables].sort());
  });

  test('its entries are what was changed, in its order, and nothing else', async () => {
    await work([RENTAL, 1, 1, 1]);
    const rental = String(await db.value('SELECT max(rental_id) FROM rental'));
    await work([PAYMENT('payment'), 1, 1, rental, at], [PAYMENT('payment'), 1, 1, rental, '2007-05-15']);
    await work(['UPDATE rental SET return_date = $2 WHERE rental_id = $1', rental, at],
      ["UPDATE customer SET email = 'new@example.org' WHERE customer_id IN (1, 2)"]);
    await assert.rejects(work(['DELETE FROM payment WHERE rental_id = $1', rental], ['UPDATE film SET title = NULL WHERE film_id = 1']), { code: '23502' });
    await work(['DELETE FROM ONLY payment WHERE rental_id = $1', rental], ['DELETE FROM actor WHERE actor_id = 0']);

    const { rows } = await db.admin.query(`SELECT action, entity_type, entity_id, db_role::text AS role, old, new FROM bulwark.ledger
      WHERE source = 'captured' ORDER BY entry_id`);
    const payments = (await db.admin.query(`SELECT new ->> 'payment_id' AS id FROM bulwark.ledger WHERE entity_type LIKE 'public.payment%' AND action = 'insert' ORDER BY entry_id`)).rows;
    assert.deepEqual(rows.map(row => [row.action, row.entity_type, row.entity_id]), [
      ['insert', 'public.rental', rental],
      ['insert', 'public.payment', payments[0].id],
      ['insert', 'public.payment_p2007_05', null], // as loaded it has no key
      ['update', 'public.rental', rental],
      ['update', 'public.customer', '1'],
      ['update', 'public.customer', '2'],
      ['delete', 'public.payment', payments[0].id],
    ]);
    assert.ok(rows.every(row => row.role === db.login));
    const [rented, paid, sent, returned, , moved, gone] = rows;
    assert.equal(rented.old, null);
    assert.deepEqual([rented.new.customer_id, rented.new.return_date], [1, null]);
    assert.deepEqual([paid.new.amount, sent.new.amount], [1.99, 1.99]);
    assert.deepEqual([returned.old.return_date, returned.new.return_date], [null, at.replace(' ', 'T')]);
    assert.equal(moved.new.email, 'new@example.org');
    assert.notEqual(moved.old.email, moved.new.email);
    assert.deepEqual([gone.new, gone.old.payment_id], [null, Number(payments[0].id)]);
  });

  test('the ledger is whole, and both verifiers accept its export', async () => {
    await db.value('SELECT bulwark.ledger_seal()');
    const { rows: [verdict] } = await db.admin.query('SELECT ok, integrity, coverage, problems::int FROM bulwark.ledger_verify()');
    assert.deepEqual(verdict, { ok: true, integrity: 'ok', coverage: 'ok', problems: 0 });
    const key = await db.value('SELECT bulwark.ledger_public_key()');
    const checkpoints = [await db.value('SELECT bulwark.ledger_checkpoint()')];
    const lines = await exported();
    const { entries, skipped, records } = verifyExport(lines, { keys: [key], checkpoints });
    assert.equal(skipped, 0n);
    assert.equal(records.length, entries);
    assert.equal(records.filter(record => record.source === 'captured').length, 7);
    writeFileSync(join(dir, 'export.jsonl'), lines.join('\n') + '\n');
    writeFileSync(join(dir, 'checkpoint'), checkpoints[0]);
    const { status, stdout } = spawnSync('bulwarkctl', ['verify', '--key', key, '--checkpoint', join(dir, 'checkpoint'), join(dir, 'export.jsonl')], { encoding: 'utf8' });
    assert.equal(status, 0, stdout);
  });
});
