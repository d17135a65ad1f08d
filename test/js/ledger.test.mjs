// The ledger of a real server, judged by a verifier that shares no code with it: its
// export, inclusion and consistency proofs.  Both verifiers must agree.  L22.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { Database } from './support.mjs';
import { openCheckpoint, verifyConsistency, verifyExport, verifyInclusion } from './verifier.mjs';

let db, dir, vkey;
const seal = () => db.value('SELECT bulwark.ledger_seal()');
const checkpoint = () => db.value('SELECT bulwark.ledger_checkpoint()');
const exported = async (...range) =>
  (await db.admin.query(`SELECT bulwark.ledger_export('jsonl'${range.map((_, i) => `, $${i + 1}`).join('')}) AS line`, range)).rows.map(row => row.line);

/** Both verifiers, on the same lines. */
function judged(lines, checkpoints = []) {
  const file = join(dir, 'export.jsonl');
  writeFileSync(file, lines.join('\n') + '\n');
  const kept = checkpoints.flatMap((note, i) => {
    writeFileSync(join(dir, `kept-${i}`), note);
    return ['--checkpoint', join(dir, `kept-${i}`)];
  });
  const { status, stdout, stderr } = spawnSync('bulwarkctl', ['verify', '--key', vkey, ...kept, file], { encoding: 'utf8' });
  assert.equal(status, 0, stdout + stderr);
  return verifyExport(lines, { keys: [vkey], checkpoints });
}

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'bulwark-ledger-'));
  db = await Database.create();
  await db.admin.query(`CREATE TABLE things (id int PRIMARY KEY, name text, at timestamptz, n numeric, j jsonb, b bytea, a int[]);
    SELECT bulwark.audit('things')`);
  await db.admin.query(`INSERT INTO things SELECT n, 'thing ' || n, now(), n / 7.0, jsonb_build_object('n', n), sha256(n::text::bytea), ARRAY[n, n]
    FROM generate_series(1, 600) AS n`);
  await seal();
  vkey = await db.value('SELECT bulwark.ledger_public_key()');
});
after(async () => {
  await db.drop();
  rmSync(dir, { recursive: true });
});

describe('the export of a server', () => {
  test('is verified by both, entry by entry', async () => {
    const { entries, records, size, root } = judged(await exported());
    assert.ok(entries >= 601);
    assert.equal(BigInt(entries), size);
    assert.ok(openCheckpoint(await checkpoint(), vkey).size >= size);
    assert.ok(root);
    const inserts = records.filter(record => record.action === 'insert' && record.entityType === 'public.things');
    assert.equal(inserts.length, 600);
    for (const record of inserts) {
      assert.equal(record.fields.new.name, `thing ${record.content.fields.get(1).value}`);
      assert.equal(BigInt(record.fields.entry_id), record.entryId);
    }
  });
  test('continues earlier checkpoints', async () => {
    const kept = [await checkpoint()];
    await db.admin.query('UPDATE things SET name = upper(name) WHERE id <= 20');
    await seal();
    kept.push(await checkpoint());
    await db.admin.query('DELETE FROM things WHERE id <= 10');
    await seal();
    judged(await exported(), kept);
  });
  test('of a part stands for the rest by hashes', async () => {
    await new Promise(resolve => setTimeout(resolve, 20));
    const since = await db.value('SELECT clock_timestamp()');
    await db.admin.query(`INSERT INTO things (id) VALUES (10001), (10002)`);
    await seal();
    const part = judged(await exported(since), [await checkpoint()].filter(() => false));
    assert.ok(part.skipped > 600n);
    assert.ok(part.records.some(record => record.content?.fields.get(1)?.value.toString() === '10002'));
    const old = judged(await exported(null, since));
    assert.ok(old.skipped >= 2n && old.entries > 600);
  });
});

test('an erased content is gone, and every proof holds', async () => {
  const { rows } = await db.admin.query(`SELECT entry_id FROM bulwark.ledger WHERE entity_id IN ('101', '102', '300') AND action = 'insert'`);
  const ids = rows.map(row => row.entry_id);
  assert.equal(ids.length, 3);
  const kept = await checkpoint();
  assert.equal(await db.value(`SELECT bulwark.ledger_erase($1::bigint[], 'a request')`, ids), '3');
  await seal();
  const { erased } = judged(await exported(), [kept]);
  assert.deepEqual(erased.map(String).sort(), [...ids].sort());
  assert.equal(await db.value('SELECT integrity FROM bulwark.ledger_verify()'), 'ok');
  for (const id of ids) verifyInclusion(await db.value('SELECT bulwark.ledger_proof($1)', id), vkey);
});

describe('proofs of a server', () => {
  test('of entries here and there hold, for both verifiers', async () => {
    const { rows } = await db.admin.query(`SELECT entry_id FROM bulwark.ledger WHERE leaf_index IS NOT NULL ORDER BY leaf_index`);
    for (const index of [0, 1, 2, 255, 256, 257, 511, 512, rows.length - 1]) {
      const proof = await db.value('SELECT bulwark.ledger_proof($1)', rows[index].entry_id);
      assert.equal(verifyInclusion(proof, vkey).entryId, BigInt(rows[index].entry_id));
      const file = join(dir, 'proof.json');
      writeFileSync(file, JSON.stringify(proof));
      const { status, stdout } = spawnSync('bulwarkctl', ['verify', '--proof', '--key', vkey, file], { encoding: 'utf8' });
      assert.equal(status, 0, stdout);
      assert.throws(() => verifyInclusion({ ...proof, leaf_index: proof.leaf_index + 1 }, vkey));
      assert.throws(() => verifyInclusion({ ...proof, path: proof.path.slice(1) }, vkey));
    }
  });
  test('of consistency hold between any two checkpoints', async () => {
    const notes = [];
    for (let i = 0; i < 5; i++) {
      await db.admin.query('INSERT INTO things (id) SELECT $1 + n FROM generate_series(1, $2::int) AS n', [20000 + i * 1000, 1 + i * 37]);
      await seal();
      notes.push(openCheckpoint(await checkpoint(), vkey));
    }
    for (const older of notes)
      for (const newer of notes.filter(note => note.size >= older.size)) {
        const proof = await db.value('SELECT bulwark.ledger_consistency($1, $2)', older.size, newer.size);
        verifyConsistency(proof, older, newer);
        if (older.size < newer.size) {
          assert.throws(() => verifyConsistency(proof, { ...older, root: newer.root }, newer));
          assert.throws(() => verifyConsistency({ ...proof, path: proof.path.slice(1) }, older, newer));
        }
      }
  });
});
