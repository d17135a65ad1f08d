// Sakila for the tests: a database that nobody wrote for Bulwark, loaded before
// the extension comes, and prepared as its administrator would prepare it.
//
// What has to be decided before a store can be a tenant, or an affiliation:
// - A rental joins a customer of one store with a film of the other as often as
//   not, so "the store's rentals" has two meanings: of its films (through
//   inventory: stock and sales reports are exact) and of its customers (through
//   customer: a customer's account is complete).  Nothing makes both exact at
//   once.  The pooled database takes the first, the dedicated one the second.
// - An address does not say whose it is: others refer to it.  Shared, it would
//   show every customer's address to all, so it gets a column of its own.  Each
//   address has one user, so none is left over.
// - What is no store's (films, actors, places) is shared, or the tenant's.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Provider } from './provider.mjs';
import { Database } from './support.mjs';

const shared = process.env.BULWARK_SHARED ?? join(dirname(fileURLToPath(import.meta.url)), '../../../shared');
const directory = join(shared, 'data/sakila');

/** Why the tests cannot run here, or false. */
export const missing = !existsSync(join(directory, 'schema.sql')) && `Sakila is not in ${directory} (BULWARK_SHARED)`;

export const OWN = ['store', 'staff', 'customer', 'inventory', 'address'];
export const COMMON = ['actor', 'category', 'city', 'country', 'film', 'film_actor', 'film_category', 'language'];
export const CHILDREN = [1, 2, 3, 4, 5, 6].map(n => `payment_p2007_0${n}`);
export const VIEWS = {
  actor_info: 'actor_id', film_list: 'fid, category', nicer_but_slower_film_list: 'fid, category', // the rest lists names in any order
  customer_list: '*', staff_list: '*', sales_by_store: '*', sales_by_film_category: '*',
};

/** The stores' rows by hand: CTEs that stand before the tables of the same names. */
export function byHand(stores, whose) {
  const own = `store_id IN (${stores.join(', ') || 'NULL'})`;
  const rental = `SELECT * FROM public.rental WHERE ${whose}_id IN (SELECT ${whose}_id FROM public.${whose} WHERE ${own})`;
  const payment = whose === 'customer' ? `customer_id IN (SELECT customer_id FROM public.customer WHERE ${own})`
    : `rental_id IN (SELECT rental_id FROM (${rental}) r)`;
  const users = ['store', 'staff', 'customer'].map(table => `SELECT address_id FROM public.${table} WHERE ${own}`).join(' UNION ');
  return `WITH ${[
    ...['store', 'staff', 'customer', 'inventory'].map(table => `${table} AS (SELECT * FROM public.${table} WHERE ${own})`),
    `address AS (SELECT * FROM public.address WHERE address_id IN (${users}))`,
    `rental AS (${rental})`,
    ...['payment', ...CHILDREN].map(table => `${table} AS (SELECT * FROM public.${table} WHERE ${payment})`),
  ].join(', ')}`;
}

/** What a client reads: rows counted and, in one digest, themselves. */
async function reads(client, before, source, columns = '*') {
  const { rows: [row] } = await client.query(
    `${before} SELECT count(*)::int AS n, md5(string_agg(t::text, ',' ORDER BY t::text)) AS digest FROM (SELECT ${columns} FROM ${source}) t`);
  return row;
}

async function load(db) {
  for (const file of ['schema.sql', 'data.sql'])
    await promisify(execFile)('psql', ['-XqAt', '-d', db.name, '-f', join(directory, file)]);
  // The dump keeps all payments in the parent, its rules send later ones into the children.
  for (const [month, child] of [['2005-06-01', 1], ['2005-07-01', 2], ['2005-08-01', 3]])
    await db.admin.query(`
      WITH moved AS (DELETE FROM ONLY payment WHERE date_trunc('month', payment_date) = '${month}' RETURNING *)
      INSERT INTO payment_p2007_0${child} SELECT payment_id, customer_id, staff_id, rental_id, amount, payment_date + interval '19 months' FROM moved`);
  // A migration of the application's: whose an address is.
  await db.admin.query(`
    ALTER TABLE address ADD COLUMN store_id integer REFERENCES store;
    UPDATE address a SET store_id = u.store_id FROM (SELECT address_id, store_id FROM customer
      UNION SELECT address_id, store_id FROM staff UNION SELECT address_id, store_id FROM store) u WHERE u.address_id = a.address_id;
    ALTER TABLE address ALTER COLUMN store_id SET NOT NULL;
    ANALYZE`);
}

export class Sakila extends Database {
  static async create() {
    const self = await super.create(load);
    // PostgreSQL overestimates what conditions through parents cost, and would compile every statement
    await self.admin.query(`
      ALTER DATABASE ${self.name} SET jit = off;
      REVOKE CREATE ON SCHEMA public FROM PUBLIC;
      GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO bulwark_app;
      GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO bulwark_app`);
    self.provider = await Provider.create(self);
    return self;
  }

  /**
   * The schema to an owner whom no policy spares: as loaded it belongs to a
   * superuser, and rules, definer views and definer functions do what he may.
   */
  async disown() {
    const owner = `${this.login}_owner`;
    await this.admin.query(`CREATE ROLE ${owner}`);
    this.roles.push(owner);
    const { rows } = await this.admin.query(`
      SELECT format('ALTER %s %s OWNER TO ${owner}', CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, oid::regclass) AS sql
      FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'S')
      UNION ALL SELECT format('ALTER ROUTINE %s OWNER TO ${owner}', oid::regprocedure) FROM pg_proc WHERE pronamespace = 'public'::regnamespace`);
    for (const { sql } of rows) await this.admin.query(sql);
  }

  async invokerViews() {
    for (const view of Object.keys(VIEWS)) await this.admin.query(`ALTER VIEW ${view} SET (security_invoker = true)`);
  }

  /** All that an application's session reads, by name. */
  async seen(client) {
    const result = {};
    for (const table of [...OWN, 'rental', 'payment', ...CHILDREN, ...COMMON]) result[table] = await reads(client, '', table);
    for (const [view, columns] of Object.entries(VIEWS)) result[view] = await reads(client, '', view, columns);
    return result;
  }

  /** The same, worked out by a superuser with plain conditions. */
  async expected(stores, whose) {
    const result = {}, before = byHand(stores, whose);
    for (const table of [...OWN, 'rental', 'payment', ...CHILDREN, ...COMMON]) result[table] = await reads(this.admin, before, table);
    for (const [view, columns] of Object.entries(VIEWS)) {
      const definition = await this.value('SELECT pg_get_viewdef($1::regclass)', view);
      result[view] = await reads(this.admin, before, `(${definition.replace(/;$/, '')}) v`, columns);
    }
    return result;
  }
}
