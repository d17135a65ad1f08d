// Drizzle over a node-postgres pool: a request is a transaction that proves who
// asks before anything else, and then is ordinary code.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import pg from 'pg';
import { and, count, eq, relations, sql, sum } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import { integer, pgTable, text, uuid } from 'drizzle-orm/pg-core';
import { Shop } from './shop.mjs';

// tenant_id is here to be looked at: Bulwark fills it
const customers = pgTable('customers', {
  id: integer('customer_id').primaryKey().generatedByDefaultAsIdentity(),
  tenantId: uuid('tenant_id').notNull().default(sql`bulwark.tenant_id()`),
  name: text('name').notNull(),
  owner: text('owner').notNull(),
});
const orders = pgTable('orders', {
  id: integer('order_id').primaryKey().generatedByDefaultAsIdentity(),
  tenantId: uuid('tenant_id').notNull().default(sql`bulwark.tenant_id()`),
  customerId: integer('customer_id').notNull().references(() => customers.id),
  amount: integer('amount').notNull(),
  owner: text('owner').notNull(),
});
const lines = pgTable('lines', {
  id: integer('line_id').primaryKey().generatedByDefaultAsIdentity(),
  orderId: integer('order_id').notNull().references(() => orders.id),
  product: text('product').notNull(),
  owner: text('owner').notNull(),
});
const schema = {
  customers, orders, lines,
  customersRelations: relations(customers, ({ many }) => ({ orders: many(orders) })),
  ordersRelations: relations(orders, ({ one, many }) => ({
    customer: one(customers, { fields: [orders.customerId], references: [customers.id] }),
    lines: many(lines),
  })),
  linesRelations: relations(lines, ({ one }) => ({ order: one(orders, { fields: [lines.orderId], references: [orders.id] }) })),
};

let shop, pool, db, a, b, tickets;

before(async () => {
  shop = await Shop.create(4);
  [a, b] = shop.tenants;
  pool = new pg.Pool({ database: shop.name, user: shop.login, password: shop.password, max: 3 });
  db = drizzle(pool, { schema });
  const session = await shop.app();
  tickets = new Map();
  for (const tenant of shop.tenants) tickets.set(tenant, await tenant.ticket(session));
});
after(async () => {
  await pool?.end();
  await shop?.drop();
});

/** What an application writes once: a request in a transaction, with the caller's ticket or token. */
const withTicket = (ticket, work) => db.transaction(async tx => {
  await tx.execute(sql`SELECT set_config('bulwark.ticket', ${ticket}, true)`);
  return work(tx);
});
const withToken = (token, work) => db.transaction(async tx => {
  await tx.execute(sql`SELECT bulwark.authenticate(${token})`);
  return work(tx);
});
const as = (tenant, work) => withTicket(tickets.get(tenant), work);

/** The SQLSTATE is the driver's; some versions of Drizzle wrap its error. */
const rejects = (promise, code) => assert.rejects(promise, error => {
  assert.equal(error.code ?? error.cause?.code, code, error.message);
  return true;
});

class Abandon extends Error {}
/** A request that is rolled back, having seen what it would have done. */
const dryRun = (tenant, work) => assert.rejects(as(tenant, async tx => {
  await work(tx);
  throw new Abandon();
}), Abandon);

describe('Drizzle', () => {
  test('a request with a token, one with a ticket, one with neither', async () => {
    for (const tenant of shop.tenants) {
      const rows = await withToken(await tenant.token(), tx => tx.select().from(orders));
      assert.equal(rows.length, tenant.orders);
      assert.ok(rows.every(row => row.owner === tenant.slug && row.tenantId === tenant.id));
      assert.deepEqual(await as(tenant, tx => tx.select().from(orders)), rows);
    }
    assert.deepEqual(await db.select().from(orders), []);
    assert.deepEqual(await db.transaction(tx => tx.select().from(orders)), []);
  });

  test('relations load own rows, through a child too', async () => {
    const found = await as(b, tx => tx.query.customers.findMany({ with: { orders: { with: { lines: true } } } }));
    assert.equal(found.length, 5);
    const all = found.flatMap(c => c.orders);
    assert.equal(all.length, b.orders);
    assert.equal(all.flatMap(o => o.lines).length, 2 * b.orders);
    for (const row of [...found, ...all, ...all.flatMap(o => o.lines)]) assert.equal(row.owner, b.slug);
    assert.deepEqual(await db.query.customers.findMany({ with: { orders: true } }), []);
  });

  test('another tenant\'s row is not found by its key', async () => {
    const theirs = await shop.value('SELECT min(order_id) FROM orders WHERE tenant_id = $1', b.id);
    await as(a, async tx => {
      assert.equal(await tx.query.orders.findFirst({ where: eq(orders.id, theirs) }), undefined);
      assert.deepEqual(await tx.select().from(lines).where(eq(lines.orderId, theirs)), []);
      assert.equal((await tx.update(orders).set({ amount: 0 }).where(eq(orders.id, theirs))).rowCount, 0);
      assert.equal((await tx.delete(orders).where(eq(orders.id, theirs))).rowCount, 0);
    });
    assert.equal(await shop.value('SELECT count(*)::int FROM orders WHERE order_id = $1 AND amount > 0', theirs), 1);
  });

  test('a forgotten WHERE reaches own rows only', async () => {
    const others = () => shop.value("SELECT string_agg(o::text, ',' ORDER BY order_id) FROM orders o WHERE owner <> $1", a.slug);
    const untouched = await others();
    await as(a, async tx => {
      assert.equal((await tx.update(orders).set({ amount: sql`${orders.amount} + 100` })).rowCount, a.orders);
      assert.equal((await tx.update(orders).set({ amount: sql`${orders.amount} - 100` })).rowCount, a.orders);
    });
    await dryRun(a, async tx => assert.equal((await tx.delete(orders)).rowCount, a.orders));
    assert.equal(await others(), untouched);
    await db.delete(orders);
    assert.equal(await shop.value('SELECT count(*)::int FROM orders'), shop.tenants.reduce((n, t) => n + t.orders, 0));
  });

  test('inserts belong to the tenant, nested ones follow their parent', async () => {
    await dryRun(a, async tx => {
      const [customer] = await tx.insert(customers).values({ name: 'new', owner: a.slug }).returning();
      assert.equal(customer.tenantId, a.id);
      const [order] = await tx.insert(orders).values({ customerId: customer.id, amount: 7, owner: a.slug }).returning();
      assert.equal(order.tenantId, a.id);
      const made = await tx.insert(lines).values([1, 2, 3].map(n => ({ orderId: order.id, product: `p${n}`, owner: a.slug }))).returning();
      assert.equal(made.length, 3);
      assert.equal((await tx.query.orders.findFirst({ where: eq(orders.id, order.id), with: { lines: true, customer: true } })).lines.length, 3);
    });
  });

  test('I24, I26: rows for another tenant, and references to another\'s, are refused', async () => {
    const [customer] = await as(b, tx => tx.select().from(customers).limit(1));
    const [order] = await as(b, tx => tx.select().from(orders).limit(1));
    const planted = { name: 'planted', owner: 'x' };
    await rejects(as(a, tx => tx.insert(customers).values({ ...planted, tenantId: b.id })), '42501');
    await rejects(as(a, tx => tx.insert(orders).values({ customerId: customer.id, amount: 1, owner: 'x' })), '23503');
    await rejects(as(a, tx => tx.insert(lines).values({ orderId: order.id, product: 'x', owner: 'x' })), '42501');
    await rejects(as(a, tx => tx.update(customers).set({ tenantId: b.id })), '42501');
    await rejects(as(a, tx => tx.update(lines).set({ orderId: order.id })), '42501');
    await rejects(db.insert(customers).values(planted), '42501');
  });

  test('I25: an upsert that meets another tenant\'s row shows and changes nothing of it', async () => {
    const theirs = await shop.value('SELECT min(customer_id) FROM customers WHERE tenant_id = $1', b.id);
    const upsert = tx => tx.insert(customers).values({ id: theirs, name: 'taken', owner: a.slug });
    await rejects(as(a, tx => upsert(tx).onConflictDoUpdate({ target: customers.id, set: { name: 'taken' } }).returning()), '42501');
    assert.deepEqual(await as(a, tx => upsert(tx).onConflictDoNothing().returning()), []);
    await assert.rejects(as(a, upsert), error => {
      const cause = error.cause ?? error;
      assert.equal(cause.code, '23505');
      assert.equal(cause.detail, undefined);
      return true;
    });
    assert.notEqual(await shop.value('SELECT name FROM customers WHERE customer_id = $1', theirs), 'taken');
  });

  test('aggregates count own rows', async () => {
    for (const tenant of shop.tenants) {
      const [{ n, total }] = await as(tenant, tx => tx.select({ n: count(), total: sum(orders.amount) }).from(orders)
        .innerJoin(customers, and(eq(customers.id, orders.customerId))));
      assert.deepEqual([n, Number(total)], [tenant.orders, tenant.orders * (tenant.orders + 1) / 2]);
    }
  });

  test('I12: a prepared query of the mapper serves each tenant its own rows', async () => {
    for (let round = 0; round < 3; round++)
      for (const tenant of shop.tenants)
        await as(tenant, async tx => {
          const query = tx.select().from(orders).where(eq(orders.amount, sql.placeholder('amount'))).prepare('by_amount');
          const rows = await query.execute({ amount: 10 });
          assert.deepEqual(rows.map(row => row.owner), [tenant.slug]);
        });
  });

  test('I11: a nested transaction that fails leaves the identity of the outer one', async () => {
    await as(a, async tx => {
      await rejects(tx.transaction(async inner => {
        assert.equal((await inner.select().from(orders)).length, a.orders);
        await inner.execute(sql`SELECT set_config('bulwark.ticket', ${tickets.get(b)}, true)`);
      }), '55000');
      assert.equal((await tx.select().from(orders)).length, a.orders);
    });
    assert.deepEqual(await db.select().from(orders), []);
  });

  test('I13: requests of all tenants at once over three connections', async () => {
    await Promise.all(Array.from({ length: 80 }, async (_, i) => {
      const tenant = shop.tenants[i % shop.tenants.length];
      if (i % 7 === 0) return assert.deepEqual(await db.select().from(lines), []);
      const rows = await as(tenant, tx => tx.select().from(lines));
      assert.equal(rows.length, 2 * tenant.orders);
      assert.ok(rows.every(row => row.owner === tenant.slug));
    }));
    assert.ok(pool.totalCount <= 3);
  });

  test('I32: a viewer cannot write', async () => {
    const ticket = await a.ticket(await shop.app(), a.viewer);
    assert.equal((await withTicket(ticket, tx => tx.select().from(orders))).length, a.orders);
    await rejects(withTicket(ticket, tx => tx.insert(customers).values({ name: 'x', owner: 'x' })), '42501');
    assert.equal((await withTicket(ticket, tx => tx.update(orders).set({ amount: 0 }))).rowCount, 0);
    assert.equal((await withTicket(ticket, tx => tx.delete(lines))).rowCount, 0);
  });
});
