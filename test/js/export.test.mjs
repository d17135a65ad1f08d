// The ledger's export without a server: logs made by hand, whole and forged, judged by
// bulwarkctl and by a verifier of its own.  Both must agree.  L8 to L10, L12, L22, L29.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync, existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { Forge, SigningKey, b64, sha256 } from './forge.mjs';
import { Stack, checkConsistency, fromBase64, inclusionRoot, leafHash, nodeHash, parseCheckpoint, subtrees, verifyExport, verifyInclusion } from './verifier.mjs';

let dir;
before(() => {
  dir = mkdtempSync(join(tmpdir(), 'bulwark-export-'));
});
after(() => rmSync(dir, { recursive: true }));

const text = lines => lines.map(line => typeof line === 'string' ? line : JSON.stringify(line)).join('\n') + '\n';

/** What bulwarkctl says of the lines: {code, out, err}. */
function ctl(lines, { keys = [], checkpoints = [], args = [] } = {}) {
  const files = checkpoints.map((note, i) => {
    writeFileSync(join(dir, `checkpoint-${i}`), note);
    return join(dir, `checkpoint-${i}`);
  });
  const result = spawnSync('bulwarkctl', ['verify', ...keys.flatMap(key => ['--key', key]),
    ...files.flatMap(file => ['--checkpoint', file]), ...args, '-'], { input: text(lines), encoding: 'utf8', maxBuffer: 1 << 28 });
  // where reading on makes no sense it does not
  if (result.error?.code !== 'EPIPE') assert.equal(result.error, undefined);
  return { code: result.status, out: result.stdout, err: result.stderr };
}

/** Both verifiers accept. */
function accepted(lines, options) {
  const found = verifyExport(text(lines).trimEnd().split('\n'), { keys: options.keys, checkpoints: options.checkpoints });
  const { code, out } = ctl(lines, options);
  assert.equal(code, 0, out);
  assert.match(out, /^verified: /);
  return { ...found, out };
}

/** Both refuse; bulwarkctl says why. */
function refused(lines, options, why) {
  assert.throws(() => verifyExport(text(lines).trimEnd().split('\n'), { keys: options.keys, checkpoints: options.checkpoints }), 'the other verifier accepts');
  const { code, out } = ctl(lines, options);
  assert.equal(code, 1, out);
  assert.match(out, why);
  assert.match(out, /^NOT verified: /m);
  return { code, out };
}

function smallLog() {
  const forge = new Forge();
  forge.seal(forge.transaction(1));
  forge.seal(forge.transaction(3), forge.transaction(1), forge.transaction(5));
  forge.seal(forge.transaction(300));
  forge.seal(forge.transaction(2), forge.transaction(1));
  return forge;
}

const copy = lines => JSON.parse(JSON.stringify(lines));
const flip = (base64, at) => {
  const bytes = fromBase64(base64);
  bytes[at < 0 ? bytes.length + at : at] ^= 0x40;
  return b64(bytes);
};
const nth = (lines, type, n) => lines.filter(line => line.type === type)[n];

describe('a whole log', () => {
  const forge = smallLog();
  const options = { keys: [forge.vkey] };

  test('is verified by both', () => {
    const { entries, root } = accepted(forge.export(), options);
    assert.equal(entries, 313);
    assert.ok(root.equals(forge.stack.root()));
  });
  test('says what it does not show', () => {
    assert.match(ctl(forge.export(), options).out, /No earlier checkpoint was compared/);
  });
  test('entries, blocks and contents that are left out are counted', () => {
    const { skipped } = accepted(forge.export({ show: entry => entry.entryId % 3n === 0n }), options);
    assert.equal(skipped, 209n);
    for (let i = 0; i < 4; i++) accepted(forge.export({ blocks: n => n === i }), options);
    accepted(forge.export({ show: () => false }), options);
    assert.match(accepted(forge.export({ content: () => false }), options).out, /313 entries are without their contents/);
  });
  test('runs that are withheld are no problem', () => {
    const lines = forge.export();
    for (const line of lines) if (line.type === 'block') line.runs = null;
    accepted(lines, options);
  });
  test('an empty one too', () => {
    const empty = new Forge();
    accepted(empty.export(), { keys: [empty.vkey] });
  });
  test('trees of every size have one root', () => {
    for (let size = 0; size < 70; size++) {
      const one = new Forge();
      if (size) one.seal(one.transaction(size));
      accepted(one.export(), { keys: [one.vkey] });
    }
  });
});

describe('L8: what was recorded is not what is shown', () => {
  const forge = smallLog();
  const options = { keys: [forge.vkey] };
  const forged = (name, change, why) => test(name, () => {
    const lines = copy(forge.export());
    change(lines);
    refused(lines, options, why);
  });

  forged('a byte of a content', lines => { const e = nth(lines, 'entry', 5); e.content = flip(e.content, -1); },
    /leaf 5: entry 6: its content is not the one that was recorded/);
  forged('a byte of a record', lines => { const e = nth(lines, 'entry', 5); e.leaf = flip(e.leaf, -3); },
    /block 1 \(leaves 1 to 9\): its entries do not have the root/);
  forged('two contents swapped', lines => {
    const a = nth(lines, 'entry', 1), b = nth(lines, 'entry', 20);
    [a.content, b.content] = [b.content, a.content];
  }, /leaf 1: entry 2: its content[^]*leaf 20: entry 21: its content/);
  forged('two entries swapped', lines => {
    const a = nth(lines, 'entry', 1), b = nth(lines, 'entry', 2);
    for (const member of ['leaf', 'content', 'fields']) [a[member], b[member]] = [b[member], a[member]];
  }, /leaf 1: entry 3: it is not the entry that its transaction has here/);
  forged('an entry removed', lines => lines.splice(lines.indexOf(nth(lines, 'entry', 5)), 1), /leaf 6 is not in its place, which is that of leaf 5/);
  forged('an entry doubled', lines => lines.splice(lines.indexOf(nth(lines, 'entry', 5)), 0, nth(lines, 'entry', 5)), /leaf 5 is not in its place/);
  forged('an entry added to a block', lines => {
    const at = lines.indexOf(nth(lines, 'entry', 0));
    lines.splice(at + 1, 0, { ...lines[at], leaf_index: 1 });
  }, /leaf 1 is not in its place/);
  forged('an entry of another log', lines => { const e = nth(lines, 'entry', 5); e.leaf = flip(e.leaf, 3); }, /leaf 5: it is an entry of another log/);
  forged('leaves left out that are not those', lines => {
    const e = nth(lines, 'entry', 5);
    lines[lines.indexOf(e)] = { type: 'skip', leaf_index: 5, count: 1, nodes: [b64(sha256('x'))] };
    const end = lines.at(-1);
    end.entries--;
    end.skipped++;
  }, /block 1 .*do not have the root/);
  test('L12: entries removed from an export that says it is whole', () => {
    accepted(forge.export({ whole: true }), options);
    refused(forge.export({ whole: true, show: entry => entry.entryId > 5n }), options, /leaf 0: \d+ entries are missing from here on, of an export that says it is whole/);
    refused(forge.export({ whole: true, blocks: n => n > 1 }), options, /leaf 0: \d+ entries are missing from here on, of an export that says it is whole/);
  });
  test('a field that people read', () => {
    for (const [field, value] of [['db_role', 'somebody'], ['entity_id', '999'], ['action', 'delete'], ['tenant_id', null], ['entry_id', 999],
      ['actor_id', '00000000-0000-0000-0000-000000000000'], ['occurred_at', '2023-11-14T22:13:21.234568+00:00'], ['actor_email', 'a@example.org'],
      ['client_addr', '192.0.2.1'], ['old', { a: 'was' }], ['new', null], ['metadata', { note: 'forged' }]]) {
      const lines = copy(forge.export());
      nth(lines, 'entry', 0).fields[field] = value;
      const { code, out } = ctl(lines, options);
      assert.equal(code, 1);
      assert.match(out, new RegExp(`leaf 0: entry 1: its field "${field}" is not what was recorded`));
    }
  });
});

describe('fields that nothing in the export proves', () => {
  const forge = smallLog();
  const options = { keys: [forge.vkey] };

  test('renderings are counted, not vouched for', () => {
    const lines = copy(forge.export());
    nth(lines, 'entry', 0).fields.new = { a: 'forged' };
    assert.match(ctl(lines, options).out, /Of 313 entries the contents are proved, and not what "metadata", "old" and "new" show/);
  });
  test('so is what is shown of an entry without its content', () => {
    const lines = copy(forge.export());
    delete nth(lines, 'entry', 0).content;
    nth(lines, 'entry', 0).fields.entity_id = '999';
    assert.match(ctl(lines, options).out, /1 of them show values all the same[^]*nothing in the export proves those/);
  });
});

describe('L9: blocks and signatures', () => {
  const forge = smallLog();
  const options = { keys: [forge.vkey] };
  const forged = (name, change, why) => test(name, () => {
    const lines = copy(forge.export());
    change(lines);
    refused(lines, options, why);
  });

  forged('a byte of a header', lines => { const b = nth(lines, 'block', 1); b.header = flip(b.header, 50); }, /block 1: the checkpoint is not that of the block/);
  forged('a byte of its runs', lines => { const b = nth(lines, 'block', 1); b.runs = flip(b.runs, -1); }, /block 1: its runs are not those of the header/);
  forged('a signature', lines => {
    const b = nth(lines, 'block', 2);
    const parts = b.checkpoint.trimEnd().split(' ');
    parts.push(flip(parts.pop(), 20));
    b.checkpoint = `${parts.join(' ')}\n`;
  }, /block 2: the signature of the checkpoint is wrong/);
  forged('a checkpoint without one', lines => { const b = nth(lines, 'block', 2); b.checkpoint = `${b.checkpoint.split('\n\n')[0]}\n`; }, /block 2: the checkpoint is not a signed note/);
  forged('the checkpoint of another block', lines => { nth(lines, 'block', 2).checkpoint = nth(lines, 'block', 1).checkpoint; }, /block 2: the checkpoint is not that of the block/);
  forged('a block removed', lines => {
    const from = lines.indexOf(nth(lines, 'block', 1)), to = lines.indexOf(nth(lines, 'block', 2));
    lines.splice(from, to - from);
  }, /block 2 begins with leaf 10, not 1/);
  forged('two blocks the other way round', lines => {
    const a = lines.indexOf(nth(lines, 'block', 1)), b = lines.indexOf(nth(lines, 'block', 2)), c = lines.indexOf(nth(lines, 'block', 3));
    lines.splice(a, c - a, ...lines.slice(b, c), ...lines.slice(a, b));
  }, /block 2 begins with leaf 10, not 1/);
  forged('the newest block left out', lines => {
    const from = lines.indexOf(nth(lines, 'block', 3));
    lines.splice(from, 4);
    lines.at(-1).entries -= 3;
  }, /does not add up/);
  forged('no end', lines => lines.pop(), /cut off after line/);
  forged('lines after the end', lines => lines.push(lines.at(-1)), /comes after the end/);
  test('another key in place of the public key', () => {
    const other = new Forge();
    const lines = copy(forge.export());
    lines[0].keys = other.keys.map(key => key.vkey.replace(other.id, forge.id));
    assert.equal(ctl(lines, options).code, 1);
    const unpinned = ctl(lines, { args: ['--unpinned'] });
    assert.equal(unpinned.code, 1, 'not even a key of that name');
  });
  test('history signed anew with another key', () => {
    const again = smallLog();
    again.id = forge.id;
    again.origin = forge.origin;
    const mine = smallLog();
    refused(mine.export(), options, /another log/);
    const key = new SigningKey(forge.origin);
    const resigned = copy(forge.export());
    resigned[0].keys = [key.vkey];
    for (const line of resigned)
      if (line.type === 'block') {
        const body = `${line.checkpoint.split('\n\n')[0]}\n`;
        line.checkpoint = `${body}\n${key.line(body)}`;
      }
    refused(resigned, options, /not signed by the log's key|not signed by the key that you gave/);
    const unpinned = ctl(resigned, { args: ['--unpinned'] });
    assert.equal(unpinned.code, 0, 'in itself it is whole');
    assert.match(unpinned.out, /The key was NOT pinned/);
  });
  test('nothing is verified without a key', () => {
    const { code, err } = ctl(forge.export());
    assert.equal(code, 2);
    assert.match(err, /--key/);
  });
});

describe('L10, L29: earlier checkpoints', () => {
  const forge = new Forge();
  const options = checkpoints => ({ keys: [forge.vkey], checkpoints });
  forge.seal(forge.transaction(4));
  const early = forge.blocks[0].checkpoint;
  forge.seal(forge.transaction(9), forge.transaction(2));
  const yesterday = forge.blocks[1].checkpoint;
  const cutOff = copy(forge.export());
  forge.seal(forge.transaction(40));
  const newest = forge.blocks[2].checkpoint;

  test('hold', () => accepted(forge.export(), options([newest, early, yesterday])));
  test('hold where what lies before is left out at their sizes', () => accepted(forge.export({ blocks: n => n === 2 }), options([yesterday])));
  test('the newest entries cut off', () => refused(cutOff, options([newest]), /entries are missing: the checkpoint .* is of 55 leaves, here are 15/));
  test('the same size with another root', () => {
    const fork = new Forge();
    Object.assign(fork, { id: forge.id, origin: forge.origin, keys: forge.keys, signers: forge.signers });
    fork.seal(fork.transaction(4));
    fork.seal(fork.transaction(9), fork.transaction(2));
    accepted(fork.export(), options([]));
    refused(fork.export(), options([yesterday]), /equivocation: the first 15 leaves are not those of the checkpoint/);
    const { out } = ctl(fork.export(), options([yesterday]));
    assert.match(out, /Not every earlier checkpoint holds/);
    assert.doesNotMatch(out, /No earlier checkpoint was compared/);
    fork.seal(fork.transaction(40));
    refused(fork.export(), options([early]), /equivocation: the first 4 leaves/);
  });
  test('the same leaves in another block', () => {
    const twin = clock => {
      const fork = new Forge();
      Object.assign(fork, { id: forge.id, origin: forge.origin, keys: forge.keys, signers: forge.signers, clock });
      return fork;
    };
    const one = twin(forge.clock), other = twin(forge.clock + 60_000_000n), together = twin(forge.clock);
    const make = n => {
      const entries = one.transaction(n);
      other.xid = together.xid = one.xid;
      return entries;
    };
    const first = make(3);
    for (const fork of [one, other]) fork.seal(first);
    const kept = other.blocks[0].checkpoint;
    const second = make(2);
    for (const fork of [one, other]) fork.seal(second);
    together.seal(first, second);
    accepted(other.export(), options([kept, other.blocks[1].checkpoint]));
    refused(one.export(), options([kept]), /equivocation: block 0 is not the one of the checkpoint/);
    refused(one.export(), options([other.blocks[1].checkpoint]), /equivocation: block 1 is not the one of the checkpoint/);
    refused(together.export(), options([one.blocks[1].checkpoint]), /equivocation: block 1 is not the one of the checkpoint/);
    refused(together.export(), options([one.blocks[0].checkpoint]), /equivocation: block 0 is not the one of the checkpoint/);
  });
  test('of another log', () => {
    const other = new Forge();
    other.seal(other.transaction(4));
    refused(forge.export(), options([other.blocks[0].checkpoint]), /one of another log/);
  });
  test('of another key', () => {
    const key = new SigningKey(forge.origin);
    const body = `${early.split('\n\n')[0]}\n`;
    refused(forge.export(), options([`${body}\n${key.line(body)}`]), /not signed by a key of this log/);
  });
  test('of a size that is left out', () => {
    const { code, out } = ctl(forge.export({ blocks: n => n === 2 }), options([forge.checkpoint(sha256('x'), forge.blocks[0].header, 7n, 0)]));
    assert.equal(code, 1);
    assert.match(out, /cannot be compared/);
  });
  test('a file that is none', () => {
    const { code, err } = ctl(forge.export(), options(['nonsense\n']));
    assert.equal(code, 3);
    assert.match(err, /is not a checkpoint/);
  });
});

describe('L15: which block a transaction is in', () => {
  const log = change => {
    const forge = new Forge();
    forge.seal(forge.transaction(1));
    const late = forge.transaction(2);
    forge.running = [late[0].xid];
    forge.seal(forge.transaction(1));
    change(forge, late);
    return forge;
  };
  const options = forge => ({ keys: [forge.vkey] });

  test('one that was in progress is in a later one', () => {
    const forge = log((f, late) => { f.seal(f.transaction(1)); f.running = []; f.seal(late, f.transaction(1)); });
    accepted(forge.export(), options(forge));
  });
  test('not in one after its end was seen', () => {
    const forge = log((f, late) => { f.running = []; f.seal(f.transaction(1)); f.seal(late, f.transaction(1)); });
    refused(forge.export(), options(forge), /block 3: transaction \d+ belongs to an earlier block/);
  });
  test('nor does one that ended begin again', () => {
    const forge = log((f, late) => {
      f.running = [];
      f.seal(f.transaction(1));
      f.running = [late[0].xid];
      f.seal(f.transaction(1));
      f.running = [];
      f.seal(late, f.transaction(1));
    });
    refused(forge.export(), options(forge), /block 3 does not see all that the one before it saw/);
  });
});

describe('L15: snapshots are those of an incarnation', () => {
  const options = forge => ({ keys: [forge.vkey] });
  const log = () => {
    const forge = new Forge();
    const late = forge.transaction(2);
    forge.seal(forge.transaction(1));	// ends behind the late one
    for (forge.incarnation = 2; forge.blocks.length < 3;) forge.seal(forge.transaction(1));
    forge.incarnation = 1;
    return { forge, late };
  };
  test('one that an earlier block of it saw ended is in none after another incarnation', () => {
    const { forge, late } = log();
    accepted(forge.export(), options(forge));
    forge.seal(late);
    refused(forge.export(), options(forge), /block 3: transaction \d+ belongs to an earlier block/);
    const lines = forge.export();
    for (const line of lines) if (line.type === 'block') line.runs = null;
    refused(lines, options(forge), /block 3: transaction \d+ belongs to an earlier block/);
  });
  test('nor where blocks between are left out', () => {
    const { forge, late } = log();
    forge.seal(late);
    refused(forge.export({ blocks: n => n === 0 || n === 3 }), options(forge), /block 3: transaction \d+ belongs to an earlier block/);
  });
  test('none begins again after another incarnation', () => {
    const { forge, late } = log();
    forge.running = [late[0].xid];
    forge.seal(forge.transaction(1));
    refused(forge.export(), options(forge), /block 3 does not see all that the one before it saw/);
  });
});

describe('L11: manifests say how many entries a transaction has', () => {
  const transactions = (...all) => {
    const forge = new Forge();
    forge.seal(...all.map(([n, manifests]) => forge.transaction(n, { manifests })));
    return forge;
  };
  const judged = (judge, forge, ...why) => {
    const without = forge.export();
    for (const line of without) if (line.type === 'block') line.runs = null;
    for (const lines of [forge.export(), without]) judge(lines, { keys: [forge.vkey] }, ...why);
  };
  test('several cover it, one after the other', () => {
    judged(accepted, transactions([5, (i, over) => i === 2 ? over(1, 2) : i === 5 ? over(3, 5) : null], [1, () => 'alone'], [1, (i, over) => over(1, 1)],
      [3, (i, over) => i === 1 ? 'alone' : i === 3 ? over(2, 3) : null]));
  });
  for (const [what, why, ...all] of [
    ['none', /its last entries are missing, with its manifest/, [3, () => null]],
    ['none of the last entry', /its last entries are missing, with its manifest/, [3, (i, over) => i === 2 ? over(1, 2) : null], [1, () => 'alone']],
    ['one that begins later', /entry 3: its manifest is not that of the entries here/, [3, (i, over) => i === 3 ? over(2, 3) : null]],
    ['two that overlap', /entry 3: its manifest is not that of the entries here/, [3, (i, over) => i === 2 ? over(1, 2) : i === 3 ? over(2, 3) : null]],
    ['one of other entries', /entry 3: its manifest is not that of the entries here/, [3, (i, over) => i === 3 ? { ...over(1, 3), digest: sha256('x') } : null]],
    ['none behind one that is alone', /its last entries are missing, with its manifest/, [2, i => i === 1 ? 'alone' : null]],
  ]) test(what, () => judged(refused, transactions(...all), why));
  test('as far as leaves are shown', () => {
    const forge = transactions([4, (i, over) => i === 2 ? over(1, 2) : i === 4 ? over(3, 4) : null], [3]);
    for (let mask = 0; mask < 128; mask++) accepted(forge.export({ show: entry => mask >> Number(entry.entryId - 1n) & 1 }), { keys: [forge.vkey] });
    const bad = transactions([4, (i, over) => i === 2 ? over(1, 2) : i === 4 ? { ...over(3, 4), digest: sha256('x') } : null], [3]);
    refused(bad.export({ show: entry => entry.entryId !== 1n }), { keys: [bad.vkey] }, /entry 4: its manifest is not that of the entries here/);
    accepted(bad.export({ show: entry => entry.entryId !== 3n }), { keys: [bad.vkey] });
  });
  test('entries in another order, of a block without runs', () => {
    const forge = new Forge();
    const first = forge.transaction(2), second = forge.transaction(2);
    forge.seal(second, first);
    const lines = forge.export();
    for (const line of lines) if (line.type === 'block') line.runs = null;
    refused(lines, { keys: [forge.vkey] }, /it does not follow the entry before it/);
  });
});

describe('what no server writes', () => {
  const of = (options, n = 1) => {
    const forge = new Forge();
    forge.seal(forge.transaction(n, options));
    return forge;
  };
  for (const [what, options, why] of [
    ['a row change that was not captured', { source: 3 }, /its action is not one of its source/],
    ['a captured entry of something else', { action: 'read' }, /its action is not one of its source/],
    ["an application's that is the system's", { action: 'app:order', source: 3 }, /its action is not one of its source/],
    ['what an application asserts under a name of ours', { action: 'configuration', source: 2 }, /its action is not one of its source/],
    ['an insert without its image', { tags: [10] }, /does not have the images of its action/],
    ['an insert with an old image', { tags: [10, 11, 12] }, /does not have the images of its action/],
    ['a truncate with an image', { action: 'truncate', tags: [10, 11] }, /does not have the images of its action/],
    ['images without a shape', { action: 'update', tags: [11, 12] }, /does not have the images of its action/],
    ['an image of more columns', { columns: 2 }, /an image does not have the columns of its shape/],
  ]) test(what, () => {
    const forge = of(options);
    refused(forge.export(), { keys: [forge.vkey] }, why);
  });
  test('and what one writes', () => {
    for (const options of [{ action: 'update' }, { action: 'delete' }, { action: 'truncate' }, { action: 'read', source: 3 }, { action: 'app:order', source: 2 }, { action: 'write', source: 3 }]) {
      const forge = of(options, 2);
      accepted(forge.export(), { keys: [forge.vkey] });
    }
  });
  test('a shape of another table', () => {
    const forge = new Forge();
    forge.table = 'public.other';
    forge.seal(forge.transaction(1));
    refused(forge.export(), { keys: [forge.vkey] }, /the shape of its images is that of another table/);
  });
  test('an empty block', () => {
    const forge = of({});
    forge.seal();
    refused(forge.export(), { keys: [forge.vkey] }, /is not a block/);
  });
  test('a whole log without runs, a block that does not say, or twice', () => {
    const forge = of({});
    for (const [change, why] of [[line => ({ ...line, runs: null }), /its runs are missing, of an export that says it is whole/],
      [({ runs, ...line }) => line, /is not a block/]])
      refused(forge.export({ whole: true }).map(line => line.type === 'block' ? change(line) : line), { keys: [forge.vkey] }, why);
    const lines = forge.export().map(line => line.type === 'block' ? JSON.stringify(line).replace('{', '{"runs":null,') : line);
    assert.match(ctl(lines, { keys: [forge.vkey] }).out, /is not a block/);
  });
  test('fields that are none', () => {
    const forge = of({});
    refused(forge.export().map(line => line.fields ? { ...line, fields: [] } : line), { keys: [forge.vkey] }, /its fields are not one object/);
    const lines = forge.export().map(line => line.fields ? JSON.stringify(line).replace('{', '{"fields":{},') : line);
    assert.match(ctl(lines, { keys: [forge.vkey] }).out, /its fields are not one object/);
  });
});

describe('L29: another signing key', () => {
  /** A log whose block 1 has these signers, and names a next key or none; the new key signs what follows. */
  const change = (signers, named, first = 1) => {
    const forge = new Forge();
    const key = new SigningKey(forge.origin);
    const old = forge.keys;
    forge.keys = [...old, key];
    for (let block = 0; block < 4; block++) {
      forge.signers = block < first ? old : block > first ? [key] : signers(forge.keys);
      forge.next = block === first && named ? key : null;
      forge.seal(forge.transaction(2));
    }
    return forge;
  };
  test('a change that the old key has signed, and that names the new one, is followed', () => {
    const forge = change(keys => keys, true);
    accepted(forge.export(), { keys: [forge.keys[0].vkey], checkpoints: forge.blocks.map(block => block.checkpoint) });
    assert.equal(ctl(forge.export(), { keys: [forge.keys[1].vkey] }).code, 0, 'and the new key vouches for all before it');
  });
  test('one that it has not signed is refused', () => {
    const forge = change(keys => keys.slice(1), true);
    refused(forge.export(), { keys: [forge.keys[0].vkey] }, /block 1: the checkpoint is not signed by the log's key/);
    assert.equal(ctl(forge.export(), { keys: [forge.keys[1].vkey] }).code, 1);
  });
  test('one that the new key has not signed is refused', () => {
    const forge = change(keys => keys.slice(0, 1), true);
    refused(forge.export(), { keys: [forge.keys[0].vkey] }, /block 1: the checkpoint is not signed by the log's key/);
  });
  test('the old one is out of force although the export does not list the new one', () => {
    const forge = change(keys => keys, true);
    const lines = copy(forge.export({ blocks: n => n < 2 }));
    lines[0].keys = [forge.keys[0].vkey];
    assert.match(ctl(lines, { keys: [forge.keys[0].vkey] }).out, /block 1: the checkpoint is not signed by the log's key/);
    assert.equal(ctl(lines, { keys: [forge.keys[0].vkey] }).code, 1);
  });
  test('a signature that anybody appended changes no key', () => {
    for (const first of [0, 1, 2]) {
      const forge = change(keys => keys, false, first);
      refused(forge.export(), { keys: [forge.keys[0].vkey] }, new RegExp(`block ${first + 1}: the checkpoint is not signed by the log's key`));
    }
  });
  test('and disturbs nobody', () => {
    const forge = new Forge();
    const stranger = new SigningKey(forge.origin);
    forge.signers = [...forge.keys, stranger];
    for (let i = 0; i < 3; i++) forge.seal(forge.transaction(2));
    const lines = copy(forge.export());
    accepted(lines, { keys: [forge.vkey] });
    lines[0].keys.push(stranger.vkey);
    const { out } = accepted(lines, { keys: [forge.vkey] });
    assert.ok(!out.includes(stranger.vkey));
  });
  test('nor where checkpoints before it are left out', () => {
    const forge = change(keys => keys, false, 2);
    refused(forge.export({ blocks: n => n === 0 || n === 3 }), { keys: [forge.keys[0].vkey] }, /not signed by the key that you gave|not signed by the log's key/);
  });
});

describe('erasure', () => {
  const leaves = entries => sha256(...entries.map(entry => leafHash(entry.leaf))).toString('hex');
  const erase = (...entries) => {
    for (const entry of entries) {
      entry.content = null;
      entry.fields.entity_id = entry.fields.new = null;
    }
  };
  const record = (forge, metadata) => forge.seal(forge.transaction(1, { action: 'retention', source: 3, metadata: JSON.stringify(metadata) }));
  const erased = metadata => {
    const forge = new Forge();
    const entries = forge.transaction(5);
    forge.seal(entries);
    erase(entries[1], entries[2]);
    if (metadata) record(forge, metadata(entries));
    return forge;
  };
  test('that is recorded leaves every proof', () => {
    for (const ranges of [e => [[2, 3, leaves([e[1], e[2]])]], e => [[3, 3, leaves([e[2]])], [2, 2, leaves([e[1]])]]]) {
      const forge = erased(entries => ({ reason: 'a request', erased: ranges(entries) }));
      const found = accepted(forge.export(), { keys: [forge.vkey] });
      assert.deepEqual(found.erased, [2n, 3n]);
    }
  });
  test('that is not recorded is a problem', () => {
    for (const metadata of [null, e => ({ erased: [[3, 3, leaves([e[2]])]] }), () => ({ erased: [[4, 9, leaves([])]] }),
      () => ({ erased: '2-3' }), () => ({ erased: [[2, 3]] }), () => ({})]) {
      const forge = erased(metadata);
      refused(forge.export(), { keys: [forge.vkey] }, /entry 2: its content is gone, and no record of an erasure names it$/m);
      const early = forge.export();
      early.at(-1).pending = 1;
      refused(early, { keys: [forge.vkey] }, /entry 2: its content is gone, and no record of an erasure names it, or none that was sealed: export again$/m);
    }
  });
  test('L8: of other leaves than the record names is a problem', () => {
    for (const others of [e => [e[2], e[1]], e => [e[1]], e => [e[1], e[2], e[3]], e => [e[1], e[3]]]) {
      const forge = erased(entries => ({ erased: [[2, 3, leaves(others(entries))]] }));
      refused(forge.export(), { keys: [forge.vkey] }, /entry 2: the contents that are gone, up to entry 3, are not those that were erased/);
    }
    const forge = erased(entries => ({ erased: [[2, 4, leaves(entries.slice(1, 4))]] }));
    refused(forge.export(), { keys: [forge.vkey] }, /up to entry 4, are not those that were erased/);
  });
  test('L8: covers no later entry that was given the same id', () => {
    const forge = erased(entries => ({ erased: [[2, 3, leaves([entries[1], entries[2]])]] }));
    const later = forge.transaction(1, { entryId: 3n });
    forge.seal(later);
    refused(forge.export(), { keys: [forge.vkey] }, /entry 3: another entry has the same id/);
    erase(later[0]);
    const { out } = refused(forge.export(), { keys: [forge.vkey] }, /entry 3: another entry has the same id/);
    assert.match(out, /entry 2: the contents that are gone, up to entry 3, are not those that were erased/);
  });
  test('of what was erased or set up is a problem', () => {
    for (const action of ['retention', 'ddl', 'configuration']) {
      const forge = new Forge();
      const entries = forge.transaction(1, { action, source: 3, metadata: '{}' });
      forge.seal(entries);
      forge.seal(forge.transaction(1, { action: 'retention', source: 3, metadata: JSON.stringify({ erased: [[1, 1, leaves(entries)]] }) }));
      erase(entries[0]);
      entries[0].fields.metadata = null;
      refused(forge.export(), { keys: [forge.vkey] }, /entry 1: its content is gone, which no erasure takes from such an entry/);
    }
  });
});

describe('L22: proofs', () => {
  const hashes = Array.from({ length: 300 }, (_, i) => leafHash(Buffer.from(`leaf ${i}`)));
  const root = (first, end) => {
    const stack = new Stack();
    for (const hash of hashes.slice(first, end)) stack.push(hash);
    return stack.root();
  };
  // RFC 6962 section 2.1.1 and 2.1.2, as they are written
  const split = n => {
    let k = 1;
    while (k * 2 < n) k *= 2;
    return k;
  };
  const path = (m, first, end) => {
    if (end - first <= 1) return [];
    const k = first + split(end - first);
    return m < k ? [...path(m, first, k), root(k, end)] : [...path(m, k, end), root(first, k)];
  };
  const subproof = (m, first, end, whole) => {
    if (m === end) return whole ? [] : [root(first, end)];
    const k = first + split(end - first);
    return m <= k ? [...subproof(m, first, k, whole), root(k, end)] : [...subproof(m, k, end, false), root(first, k)];
  };

  test('inclusion and consistency in every tree of up to 40 leaves', () => {
    for (let size = 1; size <= 40; size++)
      for (let m = 0; m < size; m++) {
        assert.ok(inclusionRoot(hashes[m], BigInt(m), BigInt(size), path(m, 0, size)).equals(root(0, size)));
        checkConsistency(BigInt(m + 1), root(0, m + 1), BigInt(size), root(0, size), subproof(m + 1, 0, size, true));
      }
  });

  const proofOf = (forge, index, change = {}) => {
    const size = Number(forge.stack.size);
    const leaves = forge.blocks.flatMap(block => block.entries);
    const all = leaves.map(entry => leafHash(entry.leaf));
    const rootOf = (first, end) => {
      const stack = new Stack();
      for (const hash of all.slice(first, end)) stack.push(hash);
      return stack.root();
    };
    const steps = (m, first, end) => {
      if (end - first <= 1) return [];
      const k = first + split(end - first);
      return m < k ? [...steps(m, first, k), rootOf(k, end)] : [...steps(m, k, end), rootOf(first, k)];
    };
    return {
      version: 1, origin: forge.origin, entry_id: Number(leaves[index].entryId), leaf_index: index, tree_size: size, leaf: b64(leaves[index].leaf),
      leaf_hash: b64(all[index]), path: steps(index, 0, size).map(b64), checkpoint: forge.blocks.at(-1).checkpoint, ...change,
    };
  };
  const judge = (proof, key) => {
    const file = join(dir, 'proof.json');
    writeFileSync(file, JSON.stringify(proof));
    const { status, stdout } = spawnSync('bulwarkctl', ['verify', '--proof', '--key', key, file], { encoding: 'utf8' });
    let other = true;
    try {
      verifyInclusion(proof, key);
    } catch {
      other = false;
    }
    assert.equal(status === 0, other, `the verifiers disagree: ${stdout}`);
    return other;
  };
  const forge = new Forge();
  forge.seal(forge.transaction(5));
  forge.seal(forge.transaction(2), forge.transaction(6));
  const other = new Forge();
  other.seal(other.transaction(5), other.transaction(8));

  test('of every entry hold', () => {
    for (let i = 0; i < 13; i++) assert.ok(judge(proofOf(forge, i), forge.vkey));
  });
  test('forged ones are refused', () => {
    const good = proofOf(forge, 6);
    const last = proofOf(forge, 12);
    const node = nodeHash(leafHash(forge.blocks[0].entries[0].leaf), leafHash(forge.blocks[0].entries[1].leaf));
    const forged = {
      'another index': { ...good, leaf_index: 7 },
      'index beyond the tree': { ...good, leaf_index: 13 },
      'negative index': { ...good, leaf_index: -1 },
      'another size': { ...good, tree_size: 12 },
      'a huge index': { ...good, leaf_index: 9223372036854775807n.toString() },
      'a hash too many': { ...good, path: [...good.path, good.path[0]] },
      'a hash too few': { ...good, path: good.path.slice(0, -1) },
      'hashes in another order': { ...good, path: good.path.toReversed?.() ?? [...good.path].reverse() },
      'odd leaf doubled': { ...last, leaf_index: 13, tree_size: 14, path: [last.leaf_hash, ...last.path] },
      'a node for a leaf': { ...good, leaf: b64(Buffer.concat([Buffer.of(1), node])), leaf_hash: b64(node), path: good.path.slice(1), leaf_index: 3, tree_size: 7 },
      'another leaf': { ...good, leaf: flip(good.leaf, -2) },
      'another hash': { ...good, leaf_hash: b64(sha256('x')) },
      'another entry id': { ...good, entry_id: 1 },
      'the checkpoint before': { ...good, checkpoint: forge.blocks[0].checkpoint },
      'the checkpoint of another log': { ...good, checkpoint: other.blocks[0].checkpoint },
      'no path': { ...good, path: undefined },
      'oversized': { ...good, path: Array(65).fill(good.path[0]) },
      'another origin': { ...good, origin: other.origin },
      'no origin': { ...good, origin: undefined },
      'another version': { ...good, version: 2 },
      'short hashes': { ...good, path: good.path.map(() => b64(Buffer.alloc(31))) },
    };
    for (const [name, proof] of Object.entries(forged)) assert.ok(!judge(proof, forge.vkey), name);
    assert.ok(!judge(good, other.vkey), 'a key of another log');
    assert.ok(!judge(proofOf(other, 6), forge.vkey), 'a proof of another log');
  });
});

describe('what is not an export', () => {
  const forge = new Forge();
  forge.seal(forge.transaction(3));
  const options = { keys: [forge.vkey] };
  const good = forge.export();
  const first = (change, why, both = true) => {
    const lines = copy(good);
    change(lines);
    if (both) return refused(lines, options, why);
    const { code, out } = ctl(lines, options);
    assert.equal(code, 1);
    assert.match(out, why);
  };

  test('nothing', () => assert.match(ctl([''], options).out, /not a JSON object/));
  test('an unknown version', () => first(lines => { lines[0].version = 2; }, /version that is not known/));
  test('an unknown type', () => first(lines => { lines[2].type = 'blocks'; }, /type that is not known/));
  test('a member twice', () => first(lines => { lines[1] = JSON.stringify(lines[1]).replace('{', '{"shape":"",'); }, /is not a shape/, false));
  test('a shape of another id', () => first(lines => { lines[1].shape = flip(lines[1].shape, -1); }, /not the one that its id names/));
  test('a content that is no base64, beside fields', () => first(lines => {
    const line = lines.find(line => line.type === 'entry');
    line.content = `${line.content.slice(0, 40)}$${line.content.slice(41)}`;
    line.fields = { ...line.fields, entity_id: '1' };
  }, /content is not base64/, false));
  test('base64 with bits too many', () => first(lines => { lines[1].shape = 'QR=='; }, /is not a shape/));
  test('JSON that is none', () => {
    for (const bad of ['{', '[]', '"x"', '{"type":"end"', '{"type":"end",}', '{"type":"end"} x', '{"type":"\\ud800"}', '{"type":"\\q"}', `{"x":${'['.repeat(100)}${']'.repeat(100)}}`, '{"x":01}', '{"x":.5}'])
      first(lines => { lines[2] = bad; }, /not a JSON object|type that is not known/, false);
  });
  test('a member that is not known is passed over', () => {
    const lines = copy(good);
    for (const line of lines) line.later = { any: ['thing', 1, null, true, 'caf\u00e9 \ud83d\udd11'] };
    accepted(lines, options);
  });
  test('any line changed anywhere is refused, or changes nothing', () => {
    const whole = text(good);
    for (let at = 0; at < whole.length; at += 151) {
      const changed = whole.slice(0, at) + (whole[at] === 'A' ? 'B' : 'A') + whole.slice(at + 1);
      const { code, out } = ctl([changed.trimEnd()], options);
      let other = true;
      try {
        verifyExport(changed.trimEnd().split('\n'), options);
      } catch {
        other = false;
      }
      if (code === 0) assert.ok(other, `only bulwarkctl accepts a change at ${at}`);
      else assert.match(out, /problem: /);
      if (other && code !== 0) assert.match(out, /its field/, `only the other verifier accepts a change at ${at}: ${out}`);
    }
  });
});

describe('the report', () => {
  test('is one page, and never written over another', () => {
    const forge = smallLog();
    const report = join(dir, 'report.txt');
    const options = { keys: [forge.vkey], checkpoints: [forge.blocks[1].checkpoint], args: ['--report', report] };
    assert.equal(ctl(forge.export(), options).code, 0);
    const page = readFileSync(report, 'utf8');
    assert.ok(page.split('\n').length < 60);
    for (const part of [/Verdict +VERIFIED/, new RegExp(`Log +${forge.origin}`), /Tree size +313/, /Entries +313/, /10 leaves: holds/, /pinned by the verifier, has signed/,
      new RegExp(`Root +${b64(forge.stack.root()).replaceAll(/[+/]/g, '\\$&')}`)]) assert.match(page, part);
    assert.equal(ctl(forge.export(), options).code, 3, 'the file is there');
    assert.equal(readFileSync(report, 'utf8'), page);

    const lines = copy(forge.export());
    for (const line of lines) if (line.content) line.content = flip(line.content, -1);
    const bad = join(dir, 'bad.txt');
    assert.equal(ctl(lines, { ...options, args: ['--report', bad] }).code, 1);
    assert.match(readFileSync(bad, 'utf8'), /Verdict +NOT VERIFIED[^]*Problems \(313\)[^]*and 301 more/);
    assert.ok(!existsSync(join(dir, 'none')));
  });
});
