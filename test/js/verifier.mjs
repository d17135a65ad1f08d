// A verifier of the ledger written from docs/file-formats.md alone, on node's crypto:
// exports, inclusion and consistency proofs, checkpoints.  Refuses by throwing.
import { createHash, createPublicKey, verify as verifySignature } from 'node:crypto';

export class Refused extends Error {}
const need = (condition, message) => {
  if (!condition) throw new Refused(message);
};

const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest();
export const leafHash = data => sha256(Buffer.of(0), data);
export const nodeHash = (left, right) => sha256(Buffer.of(1), left, right);
const emptyRoot = sha256();

export const fromBase64 = text => {
  need(typeof text === 'string', 'not base64');
  const bytes = Buffer.from(text, 'base64');
  need(bytes.toString('base64') === text, 'not base64');
  return bytes;
};
const hashFrom = text => {
  const bytes = fromBase64(text);
  need(bytes.length === 32, 'a hash has 32 bytes');
  return bytes;
};

// --- trees ------------------------------------------------------------------------------

/** The root of leaves that come one by one or as roots of complete subtrees. */
export class Stack {
  parts = [];
  size = 0n;

  push(hash, height = 0) {
    need(this.size % (1n << BigInt(height)) === 0n, 'a subtree is not where one begins');
    this.size += 1n << BigInt(height);
    while (this.parts.length && this.parts.at(-1).height === height) {
      hash = nodeHash(this.parts.pop().hash, hash);
      height++;
    }
    this.parts.push({ hash, height });
  }

  root() {
    return this.parts.length ? this.parts.map(part => part.hash).reduceRight((right, left) => nodeHash(left, right)) : emptyRoot;
  }
}

/** Heights of the maximal complete subtrees of leaves first ... end - 1. */
export function subtrees(first, end) {
  const heights = [];
  while (first < end) {
    let height = 0;
    while (first % (2n << BigInt(height)) === 0n && first + (2n << BigInt(height)) <= end) height++;
    heights.push(height);
    first += 1n << BigInt(height);
  }
  return heights;
}

/** RFC 9162 section 2.1.3.2, which has RFC 6962's tree. */
export function inclusionRoot(hash, index, size, path) {
  need(index < size, 'the leaf is not in a tree of this size');
  let fn = index, sn = size - 1n, root = hash;
  for (const sibling of path) {
    need(sn > 0n, 'the path is too long');
    if (fn % 2n === 1n || fn === sn) {
      root = nodeHash(sibling, root);
      while (fn % 2n === 0n && fn !== 0n) {
        fn /= 2n;
        sn /= 2n;
      }
    } else {
      root = nodeHash(root, sibling);
    }
    fn /= 2n;
    sn /= 2n;
  }
  need(sn === 0n, 'the path is too short');
  return root;
}

/** RFC 9162 section 2.1.4.2: throws unless new begins with old. */
export function checkConsistency(oldSize, oldRoot, newSize, newRoot, path) {
  need(oldSize > 0n && oldSize <= newSize, 'nothing is proved of these sizes');
  if (oldSize === newSize) {
    need(path.length === 0, 'the path is too long');
    need(oldRoot.equals(newRoot), 'equal sizes with different roots');
    return;
  }
  const hashes = [...path];
  if ((oldSize & (oldSize - 1n)) === 0n) hashes.unshift(oldRoot);
  need(hashes.length > 0, 'the path is too short');
  let fn = oldSize - 1n, sn = newSize - 1n;
  while (fn % 2n === 1n) {
    fn /= 2n;
    sn /= 2n;
  }
  let fr = hashes[0], sr = hashes[0];
  for (const hash of hashes.slice(1)) {
    need(sn > 0n, 'the path is too long');
    if (fn % 2n === 1n || fn === sn) {
      fr = nodeHash(hash, fr);
      sr = nodeHash(hash, sr);
      while (fn % 2n === 0n && fn !== 0n) {
        fn /= 2n;
        sn /= 2n;
      }
    } else {
      sr = nodeHash(sr, hash);
    }
    fn /= 2n;
    sn /= 2n;
  }
  need(sn === 0n, 'the path is too short');
  need(fr.equals(oldRoot) && sr.equals(newRoot), 'the trees are not consistent');
}

// --- signed notes -----------------------------------------------------------------------

export function parseKey(vkey) {
  const [, origin, id, key] = /^([^+\s]+)\+([0-9a-f]{8})\+(.+)$/.exec(vkey) ?? [];
  need(key, 'not a verifier key');
  const bytes = fromBase64(key);
  need(bytes.length === 33 && bytes[0] === 1, 'not an Ed25519 key');
  const hash = sha256(origin, Buffer.of(10), bytes).subarray(0, 4);
  need(hash.toString('hex') === id, 'the key is not the one that its hash names');
  return {
    origin, hash,
    object: createPublicKey({
      key: Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), bytes.subarray(1)]), format: 'der', type: 'spki',
    }),
  };
}

export function parseCheckpoint(note) {
  const [, text, signatures] = /^([^]*?\n)\n((?:\u2014 \S+ \S+\n)+)$/.exec(note) ?? [];
  need(signatures, 'not a signed note');
  const lines = text.split('\n');
  const [, block, header] = /^block (0|[1-9]\d*) (\S+)$/.exec(lines[3]) ?? [];
  const [, next] = /^next (\S+)$/.exec(lines[4]) ?? [];
  need(lines.length === (next ? 6 : 5) && /^(0|[1-9]\d*)$/.test(lines[1]) && block, 'not a checkpoint');
  return {
    text, next, origin: lines[0], size: BigInt(lines[1]), root: hashFrom(lines[2]), block: BigInt(block), header: hashFrom(header),
    signatures: signatures.split('\n').slice(0, -1).map(line => {
      const [, name, value] = line.split(' ');
      const bytes = fromBase64(value);
      need(bytes.length === 68, 'not a signature');
      return { name, hash: bytes.subarray(0, 4), bytes: bytes.subarray(4) };
    }),
  };
}

/** Is the checkpoint signed with the key?  A wrong signature under its name is refused. */
export function signedBy(checkpoint, key) {
  const named = checkpoint.signatures.filter(s => s.name === key.origin && s.hash.equals(key.hash));
  for (const signature of named)
    need(verifySignature(null, Buffer.from(checkpoint.text), key.object, signature.bytes), 'the signature is wrong');
  return named.length > 0;
}

export function openCheckpoint(note, vkey) {
  const key = parseKey(vkey);
  const checkpoint = parseCheckpoint(note);
  need(checkpoint.origin === key.origin, 'another log');
  need(signedBy(checkpoint, key), 'not signed with this key');
  return checkpoint;
}

// --- proofs -----------------------------------------------------------------------------

export function verifyInclusion(proof, vkey) {
  need(proof.version === 1, 'unknown version');
  const checkpoint = openCheckpoint(proof.checkpoint, vkey);
  const leaf = fromBase64(proof.leaf);
  const hash = leafHash(leaf);
  need(hash.equals(hashFrom(proof.leaf_hash)), 'not the hash of the leaf');
  need(checkpoint.size === BigInt(proof.tree_size), 'not the checkpoint of this size');
  need(checkpoint.origin === `bulwark/${uuid(leaf.subarray(0, 16))}` && proof.origin === checkpoint.origin, 'another log');
  const root = inclusionRoot(hash, BigInt(proof.leaf_index), checkpoint.size, proof.path.map(hashFrom));
  need(root.equals(checkpoint.root), 'the leaf is not under the root');
  const record = parseRecord(leaf.subarray(16));
  need(record.entryId === BigInt(proof.entry_id), 'another entry');
  return record;
}

export function verifyConsistency(proof, older, newer) {
  need(proof.version === 1, 'unknown version');
  need(BigInt(proof.old_size) === older.size && BigInt(proof.new_size) === newer.size, 'other sizes');
  need(proof.origin === older.origin && proof.origin === newer.origin, 'another log');
  need(hashFrom(proof.old_root).equals(older.root) && hashFrom(proof.new_root).equals(newer.root), 'other roots');
  checkConsistency(older.size, older.root, newer.size, newer.root, proof.path.map(hashFrom));
}

// --- bytes ------------------------------------------------------------------------------

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  take(n) {
    need(this.at + n <= this.bytes.length, 'bytes are missing');
    return this.bytes.subarray(this.at, this.at += n);
  }

  u8() { return this.take(1)[0]; }
  u32() { return this.take(4).readUInt32BE(); }
  u64() { return this.take(8).readBigUInt64BE(); }
  i64() { return this.take(8).readBigInt64BE(); }

  varint() {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.u8();
      value |= BigInt(byte & 0x7f) << shift;
      need(value < 1n << 64n, 'a number is too large');
      if (byte < 0x80) {
        need(byte !== 0 || shift === 0n, 'superfluous bytes in a number');
        return value;
      }
    }
  }

  string() { return this.take(Number(this.varint())); }
  end() { need(this.at === this.bytes.length, 'bytes are left over'); }
}

const uuid = bytes => bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
const actions = [null, 'insert', 'update', 'delete', 'truncate', 'read', 'denied', 'authenticate', 'decrypt', 'ddl', 'retention',
  'configuration'];

export function parseRecord(bytes) {
  const r = new Reader(bytes);
  need(r.u8() === 1, 'unknown version of a record');
  const flags = r.u8();
  need(!(flags & 0x80) && (flags & 0x60) !== 0x60, 'flags of a record');
  const code = r.u8();
  need(code < actions.length, 'action of a record');
  const record = { flags, source: [null, 'captured', 'asserted', 'system'][r.u8()] };
  need(record.source, 'source of a record');
  Object.assign(record, {
    incarnation: r.varint(), epoch: r.varint(), entryId: r.varint(), xid: r.varint(), sequence: r.varint(), time: r.i64(),
    digest: r.take(32),
  });
  if (flags & 1) record.actor = uuid(r.take(16));
  if (flags & 2) record.tenant = uuid(r.take(16));
  if (flags & 4) record.affiliation = r.string().toString();
  record.role = r.string().toString();
  if (flags & 16) record.assumedBy = r.string().toString();
  record.action = code ? actions[code] : r.string().toString();
  record.entityType = r.string().toString();
  if (flags & 32) record.manifest = { first: r.varint(), count: r.varint(), digest: r.take(32) };
  r.end();
  return record;
}

/** The tags of shape and images that an action has. */
const images = { insert: '10 12', update: '10 11 12', delete: '10 11' };
const captured = ['insert', 'update', 'delete', 'truncate'];

/** Of a system's entry: erasure leaves its content. */
const keepsContent = record => ['retention', 'ddl'].includes(record.action) ||
  (record.action === 'configuration' && record.entityType !== 'principal');

export function parseContent(bytes) {
  const r = new Reader(bytes);
  need(r.u8() === 1 && r.u8() === 0, 'unknown version of a content');
  const content = { salt: r.take(16), fields: new Map() };
  for (let last = 0; r.at < bytes.length;) {
    const tag = r.u8();
    need(tag > last && tag <= 12, 'tag of a content');
    last = tag;
    const mode = r.u8();
    need(mode <= 2, 'mode of a content');
    content.fields.set(tag, { mode, value: r.string() });
  }
  return content;
}

/** The table and the number of columns of a shape. */
function parseShape(bytes) {
  const r = new Reader(bytes);
  need(r.u8() === 1, 'unknown version of a shape');
  const shape = { relation: r.string().toString(), oid: r.varint(), columns: Number(r.varint()) };
  for (let i = 0; i < shape.columns; i++) {
    r.string();
    r.string();
    need(r.u8() <= 12, 'encoding of a column');
    r.varint();
  }
  r.end();
  return shape;
}

/** The number of columns of an image. */
function parseImage(bytes) {
  const r = new Reader(bytes);
  const columns = Number(r.varint());
  for (let i = 0; i < columns; i++) {
    const kind = r.u8();
    need(kind <= 6, 'kind of a value');
    if (kind === 1 || kind === 6) r.string();
    if (kind === 5) r.take(40);
  }
  r.end();
  return columns;
}

function parseHeader(bytes) {
  const r = new Reader(bytes);
  need(r.u8() === 1, 'unknown version of a block');
  const header = {
    log: uuid(r.take(16)), incarnation: r.u32(), block: r.u64(), first: r.u64(), size: r.u64(), root: r.take(32), before: r.take(32),
    time: r.i64(), system: r.u64(), timeline: r.u32(), xmin: r.u64(), xmax: r.u64(), running: new Set(),
  };
  for (let n = r.u32(); n > 0; n--) header.running.add(r.u64());
  header.runs = r.take(32);
  r.end();
  need(header.size > header.first, 'an empty block');
  header.hash = sha256(bytes);
  return header;
}

/** Each transaction of a block with the place of its first leaf. */
function parseRuns(bytes) {
  const r = new Reader(bytes);
  const runs = [];
  let xid = 0n, place = 0n;
  for (let n = r.varint(); n > 0n; n--) {
    const step = r.varint();
    need(step > 0n, 'runs are not in order');
    xid += step;
    const count = r.varint();
    need(count > 0n, 'an empty run');
    runs.push({ xid, place, count });
    place += count;
  }
  r.end();
  return { runs, total: place };
}

// --- exports ----------------------------------------------------------------------------

/** Keys that may sign: the pinned ones, and any that a checkpoint signed by one of these names as the next. */
class Trust {
  constructor(pinned) {
    this.trusted = pinned.map(parseKey);
  }

  check(checkpoint) {
    need(this.trusted.some(key => signedBy(checkpoint, key)), 'a checkpoint is not signed with a pinned key');
    if (!checkpoint.next) return;
    const next = parseKey(checkpoint.next);
    need(signedBy(checkpoint, next), 'the key that a checkpoint names as the next has not signed it');
    this.trusted.push(next);
  }
}

/**
 * Verify the lines of an export under pinned keys and earlier checkpoints.  Returns what
 * was found; throws at the first thing that is wrong.
 */
export function verifyExport(lines, { keys, checkpoints = [] }) {
  const stack = new Stack();
  const earlier = checkpoints.map(parseCheckpoint).sort((a, b) => Number(a.size - b.size));
  const result = { entries: 0, skipped: 0n, withheld: 0, erased: [], records: [] };
  const shapes = new Map(), ids = new Set(), gone = [], named = [], newest = new Map();
  const kept = checkpoints.map(parseCheckpoint);
  let log, trust, block, runs, previous, gap = false, ended = false;
  // within a block: the entry shown last, whether no leaf was left out since, and the leaves that no manifest covers yet (null: not all were shown)
  let last = null, adjacent = true, uncovered = [];
  const hasEnded = (snapshot, xid) => xid < snapshot.xmax && !snapshot.running.has(xid);
  const belongs = xid => {
    need(hasEnded(block, xid), 'a transaction was not ended yet');
    need(!newest.has(block.incarnation) || !hasEnded(newest.get(block.incarnation), xid), 'a transaction belongs to an earlier block');
  };
  const finishTransaction = () => need(!last || !adjacent || uncovered?.length === 0, 'a transaction is without its last manifest');
  const follow = (record, hash) => {
    const sequence = Number(record.sequence);
    if (last?.xid === record.xid) {
      need(record.sequence > last.sequence, 'an entry does not follow the one before');
      if (adjacent) need(record.sequence === last.sequence + 1n, 'an entry of a transaction is missing');
      else uncovered = null;
    } else {
      need(!last || record.xid > last.xid, 'transactions are not in order');
      if (adjacent) {
        need(sequence === 1, 'a transaction does not begin');
        finishTransaction();
      }
      uncovered = sequence === 1 ? [] : null;
      if (!runs) belongs(record.xid);
    }
    last = record;
    adjacent = true;
    if (record.flags & 64) {
      need(sequence === 1, 'an entry that is alone is not');
      uncovered = [];
    } else if (record.manifest) {
      const { first, count, digest } = record.manifest;
      need(first > 0n && count > 0n && first + count - 1n === record.sequence, 'a manifest that is none');
      if (uncovered) {
        need(Number(first) === sequence - uncovered.length, 'a manifest does not follow the one before');
        need(sha256(...uncovered).equals(digest), 'a manifest of other entries');
      }
      uncovered = [];
    } else {
      uncovered?.push(hash);
    }
  };

  const compareEarlier = () => {
    while (earlier.length && earlier[0].size === stack.size) {
      const checkpoint = earlier.shift();
      need(checkpoint.origin === log.origin, 'a checkpoint of another log');
      need(trust.trusted.some(key => signedBy(checkpoint, key)), 'an earlier checkpoint is not signed with a pinned key');
      need(checkpoint.root.equals(stack.root()), 'another history than that of an earlier checkpoint');
    }
  };
  const finishBlock = () => {
    if (!block) return;
    need(stack.size === block.size, 'leaves of a block are missing');
    need(stack.root().equals(block.root), 'the root of a block is another');
    finishTransaction();
    for (const checkpoint of kept)
      if (checkpoint.block === block.block || checkpoint.size === block.size)
        need(checkpoint.block === block.block && checkpoint.size === block.size && checkpoint.header.equals(block.hash), 'another block than that of an earlier checkpoint');
    newest.set(block.incarnation, block);
    previous = block;
    block = runs = undefined;
  };

  for (const line of lines) {
    need(!ended, 'lines after the end');
    const item = JSON.parse(line);
    need(log || item.type === 'log', 'no line "log" at the beginning');
    switch (item.type) {
      case 'log':
        need(!log && item.version === 1, 'unknown version of an export');
        need(item.origin === `bulwark/${item.log_id}`, 'the origin is not that of the log');
        need(Array.isArray(item.incarnations), 'the incarnations are missing');
        log = item;
        item.keys.forEach(parseKey);	// what a key is; that it is this log's, a checkpoint says
        trust = new Trust(keys);
        compareEarlier();
        break;
      case 'shape': {
        const shape = fromBase64(item.shape);
        need(sha256(shape).subarray(0, 16).equals(fromBase64(item.shape_id)), 'the id of a shape is wrong');
        shapes.set(item.shape_id, parseShape(shape));
        break;
      }
      case 'block': {
        finishBlock();
        const header = parseHeader(fromBase64(item.header));
        const checkpoint = parseCheckpoint(item.checkpoint);
        need(header.log === log.log_id && header.block === BigInt(item.block), 'the header of another block');
        need(header.first === stack.size, 'blocks are missing');
        if (previous && !gap)
          need(header.block === previous.block + 1n && header.before.equals(previous.hash), 'the chain of headers is broken');
        const before = newest.get(header.incarnation);
        if (before) {
          need(header.xmax >= before.xmax, 'a snapshot is older than the one before');
          for (const xid of header.running) need(!hasEnded(before, xid), 'a transaction that had ended is in progress again');
        }
        if (header.block === 0n) need(header.first === 0n && header.before.equals(Buffer.alloc(32)), 'the first block is none');
        gap = false;
        need(checkpoint.origin === log.origin && checkpoint.size === header.size && checkpoint.root.equals(header.root) &&
          checkpoint.block === header.block && checkpoint.header.equals(header.hash), 'the checkpoint is not that of its block');
        trust.check(checkpoint);
        block = header;
        last = null;
        adjacent = true;
        uncovered = [];
        need(item.runs !== null || !log.whole, 'an export that says it is whole has no runs');
        if (item.runs !== null) {
          const bytes = fromBase64(item.runs);
          need(sha256(bytes).equals(header.runs), 'runs are not those of the header');
          runs = parseRuns(bytes);
          need(runs.total === header.size - header.first, 'runs do not add up');
          for (const run of runs.runs) belongs(run.xid);
        }
        break;
      }
      case 'entry': {
        need(block && BigInt(item.leaf_index) === stack.size && stack.size < block.size, 'an entry is not in its place');
        const leaf = fromBase64(item.leaf);
        need(uuid(leaf.subarray(0, 16)) === log.log_id, 'an entry of another log');
        const record = parseRecord(leaf.subarray(16));
        need(record.incarnation === BigInt(block.incarnation), 'an entry of another incarnation');
        if (runs) {
          const place = stack.size - block.first;
          const run = runs.runs.find(r => place < r.place + r.count);
          need(record.xid === run.xid && record.sequence === place - run.place + 1n, 'an entry is not in its transaction');
        }
        need(!ids.has(record.entryId), 'two entries have the same id');
        ids.add(record.entryId);
        follow(record, leafHash(leaf));
        need((captured.includes(record.action) ? 'captured' : record.action.startsWith('app:') ? 'asserted' : 'system') === record.source,
          'an action of another source');
        need(item.fields === undefined || (typeof item.fields === 'object' && item.fields && !Array.isArray(item.fields)), 'fields are an object');
        if (item.content === null) {
          need(record.source !== 'system' || !keepsContent(record), 'a content is gone that no erasure takes');
          result.erased.push(record.entryId);
          gone.push({ id: record.entryId, hash: leafHash(leaf) });
        } else if (item.content !== undefined) {
          const bytes = fromBase64(item.content);
          need(sha256(bytes).equals(record.digest), 'a content is not that of its record');
          const content = parseContent(bytes);
          const shape = content.fields.get(10);
          need([10, 11, 12].filter(tag => content.fields.has(tag)).join(' ') === (images[record.action] ?? ''), 'images that the action does not have');
          if (shape?.mode === 0) {
            const is = shapes.get(shape.value.toString('base64'));
            need(is, 'a shape is missing');
            need(is.relation === record.entityType, 'a shape of another table');
            for (const tag of [11, 12])
              if (content.fields.get(tag)?.mode === 0) need(parseImage(content.fields.get(tag).value) === is.columns, 'an image of another shape');
          }
          if (record.source === 'system' && record.action === 'retention' && content.fields.get(9)?.mode === 0)
            named.push(...JSON.parse(content.fields.get(9).value.toString()).erased ?? []);
          record.content = content;
        } else {
          result.withheld++;
        }
        record.fields = item.fields;
        result.records.push(record);
        result.entries++;
        stack.push(leafHash(leaf));
        compareEarlier();
        break;
      }
      case 'skip': {
        need(BigInt(item.leaf_index) === stack.size && item.count > 0, 'leaves are missing');
        need(!log.whole, 'an export that says it is whole leaves entries out');
        const end = stack.size + BigInt(item.count);
        if (block && stack.size === block.size) finishBlock();
        if (block) need(end <= block.size, 'a skip goes beyond its block');
        else gap = true;
        adjacent = false;
        const heights = subtrees(stack.size, end);
        need(heights.length === item.nodes.length, 'nodes of a skip');
        // an earlier checkpoint within what is left out cannot be compared
        heights.forEach((height, i) => {
          stack.push(hashFrom(item.nodes[i]), height);
          compareEarlier();
        });
        result.skipped += BigInt(item.count);
        break;
      }
      case 'end':
        finishBlock();
        need(!gap, 'the last block is left out');
        need(BigInt(item.tree_size) === stack.size && item.entries === result.entries && BigInt(item.skipped) === result.skipped &&
          item.pending >= 0, 'the export does not add up');
        ended = true;
        break;
      default:
        need(false, 'a line of an unknown type');
    }
  }
  need(ended, 'the export is cut off');
  need(BigInt(log.tree_size) === stack.size, 'the export is not of the size that it says');
  need(earlier.length === 0, 'an earlier checkpoint is beyond the export, or within what is left out');
  if (result.skipped === 0n && result.withheld === 0) {
    gone.sort((a, b) => (a.id < b.id ? -1 : 1));
    const within = ([first, last]) => gone.filter(({ id }) => BigInt(first) <= id && id <= BigInt(last));
    for (const range of named)
      need(sha256(...within(range).map(({ hash }) => hash)).toString('hex') === range[2], 'other contents are gone than were erased');
    need(named.reduce((n, range) => n + within(range).length, 0) === gone.length, 'a content is gone without a record of it');
  }
  return { ...result, size: stack.size, root: stack.root(), origin: log.origin };
}
