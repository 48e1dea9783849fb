#!/usr/bin/env python3
"""Checks an export of agentpay's Merkle log without a database.

    verify_log.py log --checkpoint FILE --key VKEY [--since FILE]
                      (--canonical FILE | --leaves CSV [LOG=CSV ...])
                      [--encoding NAME]
    verify_log.py proof --leaf FILE --proof FILE --key VKEY
    verify_log.py consistency --old FILE --new FILE --hashes FILE --key VKEY
    verify_log.py key --public PEM --origin NAME

Needs Python 3.8 and nothing else; shares no code with agentpay. docs/evidence.md
says how to export. Exits with 0 when all is well, with 1 when it is not.
"""
import argparse
import base64
import hashlib
import json
import sys

LOGS = {'d': 'decisions', 'c': 'agent_calls', 'o': 'outcomes',
        'g': 'governance_log'}
KEYS = {'decisions': 'decision_id', 'agent_calls': 'call_id',
        'outcomes': 'outcome_id', 'governance_log': 'event_id'}


class Wrong(Exception):
    pass


def sha256(data):
    return hashlib.sha256(data).digest()


# ── Merkle trees: RFC 9162, 2.1 ─────────────────────────────────────────────
def leaf_hash(data):
    return sha256(b'\0' + data)


def node_hash(left, right):
    return sha256(b'\1' + left + right)


class Tree:
    """Leaf by leaf; keeps the roots of complete subtrees only."""

    def __init__(self):
        self.size = 0
        self.roots = []  # (height, hash), the largest first

    def append(self, leaf):
        height, node = 0, leaf
        while self.roots and self.roots[-1][0] == height:
            node = node_hash(self.roots.pop()[1], node)
            height += 1
        self.roots.append((height, node))
        self.size += 1

    def root(self):
        if not self.roots:
            return sha256(b'')
        node = self.roots[-1][1]
        for _, left in reversed(self.roots[:-1]):
            node = node_hash(left, node)
        return node


def check_inclusion(leaf, index, size, path, root):
    if index >= size:
        raise Wrong('the leaf is behind the end of the checkpoint')
    fn, sn, r = index, size - 1, leaf
    for p in path:
        if sn == 0:
            raise Wrong('the proof is too long')
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0 or r != root:
        raise Wrong('the row is not the leaf that the proof is of')


def check_consistency(first, second, first_root, second_root, path):
    if not 0 < first <= second:
        raise Wrong('there is no consistency proof for these sizes')
    if first == second:
        if path or first_root != second_root:
            raise Wrong('two roots for one size')
        return
    path = list(path)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    if not path:
        raise Wrong('the proof is empty')
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            raise Wrong('the proof is too long')
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0 or fr != first_root or sr != second_root:
        raise Wrong('the newer log does not begin with the older one')


# ── Ed25519: RFC 8032, 5.1 and Appendix A ───────────────────────────────────
P = 2 ** 255 - 19
Q = 2 ** 252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def add_points(a, b):
    A = (a[1] - a[0]) * (b[1] - b[0]) % P
    B = (a[1] + a[0]) * (b[1] + b[0]) % P
    C = 2 * a[3] * b[3] * D % P
    E = 2 * a[2] * b[2] % P
    e, f, g, h = B - A, E - C, E + C, B + A
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiply(s, point):
    result = (0, 1, 1, 0)
    while s > 0:
        if s & 1:
            result = add_points(result, point)
        point = add_points(point, point)
        s >>= 1
    return result


def read_point(data):
    y = int.from_bytes(data, 'little')
    sign, y = y >> 255, y & (1 << 255) - 1
    if y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * ROOT % P
    if (x * x - x2) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


BASE = read_point((4 * pow(5, P - 2, P) % P).to_bytes(32, 'little'))


def is_signed(public, message, signature):
    point, r = read_point(public), read_point(signature[:32])
    s = int.from_bytes(signature[32:], 'little')
    if len(signature) != 64 or point is None or r is None or s >= Q:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message)
                       .digest(), 'little') % Q
    a, b = multiply(s, BASE), add_points(r, multiply(h, point))
    return not ((a[0] * b[2] - b[0] * a[2]) % P or (a[1] * b[2] - b[1] * a[2]) % P)


# ── checkpoints: c2sp.org/signed-note, c2sp.org/tlog-checkpoint ─────────────
def key_id(name, public):
    return sha256(name.encode() + b'\n\x01' + public)[:4]


def write_key(name, public):
    return '%s+%s+%s' % (name, key_id(name, public).hex(),
                         base64.b64encode(b'\x01' + public).decode())


def read_key(text):
    try:
        name, hexed, key = text.strip().split('+', 2)
        key = base64.b64decode(key, validate=True)
    except ValueError:
        raise Wrong('that is no verifier key: %s' % text)
    if len(key) != 33 or key[0] != 1 or key_id(name, key[1:]).hex() != hexed:
        raise Wrong('that is no verifier key of Ed25519: %s' % text)
    return name, key[1:]


def read_checkpoint(note, vkey):
    """(size, root) of a note that the key has signed."""
    name, public = read_key(vkey)
    text, separator, signatures = note.rpartition('\n\n')
    text += '\n'
    signed = False
    for line in signatures.splitlines():
        dash, _, rest = line.partition(' ')
        who, _, signature = rest.partition(' ')
        if dash != '\u2014':
            raise Wrong('the checkpoint has a line that is no signature')
        signature = base64.b64decode(signature, validate=True)
        if who == name and signature[:4] == key_id(name, public):
            if not is_signed(public, text.encode(), signature[4:]):
                raise Wrong('the signature of the checkpoint is not valid')
            signed = True
    if not separator or not signed:
        raise Wrong('the checkpoint is not signed with the key')
    lines = text.split('\n')
    if lines[0] != name:
        raise Wrong('the checkpoint is of %s, the key of %s' % (lines[0], name))
    root = base64.b64decode(lines[2], validate=True)
    if str(int(lines[1])) != lines[1] or len(root) != 32:
        raise Wrong('the checkpoint is damaged')
    return int(lines[1]), root


# ── rows ────────────────────────────────────────────────────────────────────
def decode(cell, encoding):
    """Text, or what stands for bytes that have no form in UTF-8."""
    raw = cell.encode('latin-1')
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return {'hex': raw.hex()}


def read_csv(path, encoding='utf-8'):
    """Rows of a COPY with HEADER as dicts; an unquoted empty cell is None."""
    # a character for each byte: in the encodings of databases none of several
    # bytes has a quote, a comma or an end of line among them
    with open(path, encoding='latin-1', newline='') as handle:
        text = handle.read()
    header, row, at, end = None, [], 0, len(text)
    while at < end:
        if text[at] == '"':
            cell, at = '', at + 1
            while True:
                quote = text.index('"', at)
                cell, at = cell + text[at:quote], quote + 1
                if text[at:at + 1] != '"':
                    break
                cell, at = cell + '"', at + 1
        else:
            stop = min(x for x in (text.find(',', at), text.find('\n', at), end)
                       if x >= 0)
            cell, at = text[at:stop].rstrip('\r') or None, stop
        row.append(cell if cell is None else decode(cell, encoding))
        if text[at:at + 1] == ',':
            at += 1
            if at < end and text[at] not in '\r\n':
                continue
            row.append(None)
        if at == end or text[at] in '\r\n':
            at = text.find('\n', at) + 1 or end
            if header is None:
                header = row
            else:
                yield dict(zip(header, row))
            row = []


def canonical(log, row):
    members = {k: v for k, v in row.items() if v is not None}
    members['log'] = log
    return json.dumps(members, sort_keys=True, separators=(',', ':'),
                      ensure_ascii=False).encode()


def dropped_by(row):
    """What a row of governance_log says that retention dropped, or None."""
    if row['object_kind'] != 'partition' or row['action'] != 'drop':
        return None
    after = json.loads(row['after'])
    if not after.get('leaves'):
        return None
    return (after['log'], after['leaves'], int(after['tree_size']),
            bytes.fromhex(after['root_hash']))


def leaves_of_csv(leaves, files, encoding):
    """Leaf hashes in the order of the tree, complaints about rows, rows that
    have no leaf, how many were dropped, and the roots that those who dropped
    them have seen."""
    rows, drops, roots = {}, [], {}
    for log, path in files:
        if log not in KEYS:
            raise Wrong('no log is called %s' % log)
        for row in read_csv(path, encoding):
            rows[log, row[KEYS[log]]] = leaf_hash(canonical(log, row))
            drop = dropped_by(row) if log == 'governance_log' else None
            if drop:
                drops.append(drop)
    excused = {log: sorted(run + [drop[2], drop[3]] for drop in drops
                           if drop[0] == log for run in drop[1])
               for log in KEYS}
    at = dict.fromkeys(KEYS, 0)
    hashes, problems, dropped = [], [], 0
    for number, leaf in enumerate(read_csv(leaves)):
        key = LOGS.get(leaf['log']), leaf['row_key']
        if leaf['leaf_index'] != str(number):
            raise Wrong('leaf %d is missing in %s' % (number, leaves))
        if key in rows:
            hashes.append((rows.pop(key), key))
            continue
        runs = excused.get(key[0], [])
        while runs and at[key[0]] < len(runs) and runs[at[key[0]]][1] < number:
            at[key[0]] += 1
        if runs and at[key[0]] < len(runs) and runs[at[key[0]]][0] <= number:
            if not leaf.get('hash'):
                raise Wrong('leaf %d was dropped by retention: export the column'
                            ' hash of _leaves, too' % number)
            hashes.append((bytes.fromhex(leaf['hash'].replace('\\x', '')), key))
            dropped += 1
            size, root = runs[at[key[0]]][2:]
            if roots.setdefault(size, root) != root:
                raise Wrong('two roots for %d leaves' % size)
            continue
        problems.append('leaf %d: row %s of %s is missing' %
                        (number, key[1], key[0]))
        hashes.append((b'', key))
    return hashes, problems, rows, dropped, roots


def check_log(args):
    size, root = read_checkpoint(open(args.checkpoint, encoding='utf-8').read(),
                                 args.key)
    wanted = {size: root}
    if args.since:
        old_size, old_root = read_checkpoint(
            open(args.since, encoding='utf-8').read(), args.key)
        if old_size > size:
            raise Wrong('the log was cut off: %d leaves, it had %d' %
                        (size, old_size))
        wanted[old_size] = old_root
    if args.canonical:
        with open(args.canonical, 'rb') as handle:
            hashes = [(leaf_hash(line.rstrip(b'\n')), None) for line in handle]
        problems, others, dropped = [], {}, 0
    else:
        hashes, problems, others, dropped, roots = leaves_of_csv(
            args.leaves, [f.split('=', 1) for f in args.files], args.encoding)
        for old_size, old_root in roots.items():
            if wanted.setdefault(old_size, old_root) != old_root:
                raise Wrong('two roots for %d leaves' % old_size)
    if problems:
        raise Wrong('\n'.join(problems))
    if len(hashes) < size:
        raise Wrong('the export has %d leaves, the checkpoint %d' %
                    (len(hashes), size))
    tree = Tree()
    for leaf, _ in hashes[:size]:
        if tree.size in wanted and tree.root() != wanted[tree.size]:
            raise Wrong('the first %d leaves are not those of the checkpoint' %
                        tree.size)
        tree.append(leaf)
    if tree.root() != root:
        raise Wrong('the %d leaves are not those of the checkpoint' % size)
    print('%d leaves are those of the checkpoint' % size)
    if len(hashes) > size:
        print('%d leaves are newer than the checkpoint' % (len(hashes) - size))
    if dropped:
        print('%d rows were dropped by retention, as governance_log says' % dropped)
    if others:
        print('%d rows are not in the log (yet)' % len(others))


def check_proof(args):
    text = open(args.proof, encoding='utf-8').read()
    head, _, note = text.partition('\n\n')
    lines = head.split('\n')
    if lines[0] != 'c2sp.org/tlog-proof@v1' or len(lines) < 2:
        raise Wrong('that is no c2sp.org/tlog-proof@v1')
    lines = [x for x in lines[1:] if not x.startswith('extra ')]
    index = int(lines[0].split(' ')[1])
    size, root = read_checkpoint(note, args.key)
    leaf = open(args.leaf, 'rb').read().rstrip(b'\n')
    check_inclusion(leaf_hash(leaf), index, size,
                    [base64.b64decode(x, validate=True) for x in lines[1:]], root)
    print('the row is leaf %d of %d' % (index, size))


def check_growth(args):
    old = read_checkpoint(open(args.old, encoding='utf-8').read(), args.key)
    new = read_checkpoint(open(args.new, encoding='utf-8').read(), args.key)
    hashes = [bytes.fromhex(x.replace('\\x', ''))
              for x in open(args.hashes, encoding='ascii').read().split()]
    check_consistency(old[0], new[0], old[1], new[1], hashes)
    print('the log of %d leaves begins with that of %d' % (new[0], old[0]))


def show_key(args):
    pem = ''.join(x for x in open(args.public, encoding='ascii').read().split('\n')
                  if not x.startswith('-'))
    der = base64.b64decode(pem)
    if len(der) != 44 or der[:12].hex() != '302a300506032b6570032100':
        raise Wrong('%s is no Ed25519 public key in PEM' % args.public)
    print(write_key(args.origin, der[12:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    commands = parser.add_subparsers(dest='command', required=True)
    for name, run, options in (
            ('log', check_log, ('checkpoint', 'key')),
            ('proof', check_proof, ('leaf', 'proof', 'key')),
            ('consistency', check_growth, ('old', 'new', 'hashes', 'key')),
            ('key', show_key, ('public', 'origin'))):
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        for option in options:
            command.add_argument('--' + option, required=True)
        if name == 'log':
            command.add_argument('--since')
            command.add_argument('--encoding', default='utf-8')
            what = command.add_mutually_exclusive_group(required=True)
            what.add_argument('--canonical')
            what.add_argument('--leaves')
            command.add_argument('files', nargs='*', metavar='LOG=CSV')
    args = parser.parse_args()
    try:
        args.run(args)
    except Wrong as wrong:
        print(wrong, file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
