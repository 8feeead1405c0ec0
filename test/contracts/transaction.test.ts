/** Transactions, scripts, signatures, paths and BEEF: held against @bsv/sdk and the vectors of the escrow contract. */
import { readFileSync } from 'node:fs'
import * as sdk from '@bsv/sdk'
import fc from 'fast-check'
import t from 'tap'
import { type Member, makeBeef, parseBeef, verifyBeef } from '../../contracts/transaction/beef.ts'
import {
  branchOf,
  makePath,
  merkleRoot,
  parsePath,
  rootOf,
  serializePath,
} from '../../contracts/transaction/merkle-path.ts'
import { push, unlockP2pkh } from '../../contracts/transaction/script.ts'
import { preimage, sighash } from '../../contracts/transaction/sighash.ts'
import { signAll } from '../../contracts/transaction/sign.ts'
import { checkScripts, feeOf } from '../../contracts/transaction/spend.ts'
import {
  parseTransaction,
  serializeTransaction,
  type Transaction,
  txidOf,
} from '../../contracts/transaction/transaction.ts'
import { concat, fromHex, toHex } from '../../market/bytes.ts'
import { sha256, sha256Hex } from '../../market/hash.ts'
import { sign } from '../../market/secp256k1.ts'
import { draft, payee } from '../fixtures/transactions.ts'

const vectors = JSON.parse(readFileSync('test/fixtures/vectors/escrow.json', 'utf8'))
const malformed = { code: 'ERR_MALFORMED' }
const refused = { code: 'ERR_TRANSACTION_REFUSED' }
const outpoint = { txid: sha256Hex('funding'), vout: 1 }
const alice = payee('alice')
const coin = { satoshis: 1000, script: alice.script }
const paid = signAll(draft([outpoint], [{ satoshis: 900, script: payee('bob').script }]), [coin], alice)

const withScript = (transaction: Transaction, script: Uint8Array, changes = {}): Transaction => ({
  ...transaction,
  inputs: transaction.inputs.map((input) => ({ ...input, script })),
  ...changes,
})

t.test('a transaction is its bytes, and nothing else is one', async (t) => {
  const bytes = serializeTransaction(paid)

  t.strictSame(parseTransaction(bytes), paid)
  t.equal(toHex(bytes), sdk.Transaction.fromHex(toHex(bytes)).toHex())
  t.equal(txidOf(paid), sdk.Transaction.fromHex(toHex(bytes)).id('hex'))
  for (const { tx } of [...vectors.states, vectors.expiry])
    t.equal(toHex(serializeTransaction(parseTransaction(fromHex(tx)))), tx)
  t.throws(() => parseTransaction(concat(bytes, Uint8Array.of(0))), malformed, 'a byte more')
  for (let length = 0; length < bytes.length; length++)
    t.throws(() => parseTransaction(bytes.subarray(0, length)), malformed, `${length} bytes`)
  const long = concat(bytes.subarray(0, 4), fromHex('fd0100'), bytes.subarray(5))
  t.throws(() => parseTransaction(long), malformed, 'a count in more bytes than it needs')
  const rich = serializeTransaction({ ...paid, outputs: [{ satoshis: 21e14 + 1, script: alice.script }] })
  t.throws(() => parseTransaction(rich), malformed, 'more than all coins')
  t.throws(() => parseTransaction(fromHex(`01000000feffffffff${'00'.repeat(60)}`)), malformed, 'a vast count')
  t.throws(() => parseTransaction(fromHex('01000000000000000000')), malformed, 'no inputs, no outputs')
})

t.test('random bytes are refused or are the one spelling of what they say', async (t) => {
  const bytes = serializeTransaction(paid)
  const place = fc.nat({ max: bytes.length - 1 })
  fc.assert(
    fc.property(place, fc.nat({ max: 255 }), (at, value) => {
      const changed = Uint8Array.from(bytes)
      changed[at] = value
      try {
        return toHex(serializeTransaction(parseTransaction(changed))) === toHex(changed)
      } catch (error) {
        return (error as { code: string }).code === 'ERR_MALFORMED'
      }
    }),
    { numRuns: 2000 },
  )
  t.pass('2000 changed bytes')
})

t.test('the digests of the vectors; the same signatures', async (t) => {
  const joint = { satoshis: vectors.jointSatoshis, script: fromHex(vectors.jointScript) }
  for (const { tx, sighash: expected } of vectors.states)
    t.equal(toHex(sighash(parseTransaction(fromHex(tx)), 0, joint)), expected)
  const expiry = parseTransaction(fromHex(vectors.expiry.tx))
  t.equal(txidOf(expiry), vectors.expiry.txid)
  const said = preimage(expiry, 0, joint, { scriptCode: fromHex('ac68') })
  t.equal(
    toHex(said),
    toHex(expiry.inputs[0]!.script.subarray(2, 2 + said.length)),
    'what the covenant is shown',
  )
})

t.test('scripts run under the rules of nodes', async (t) => {
  const joint = { satoshis: vectors.jointSatoshis, script: fromHex(vectors.jointScript) }
  for (const { tx, kind } of [...vectors.states, { ...vectors.expiry, kind: 'expiry' }])
    await t.resolves(checkScripts(parseTransaction(fromHex(tx)), [joint]), kind)
  await t.resolves(checkScripts(paid, [coin]))

  const digest = sighash(paid, 0, coin)
  const signature = sign(digest, alice.privateKey)
  const typed = (type: number, der = signature) => concat(der, Uint8Array.of(type))
  const { publicKey } = alice
  const cases: [string, Transaction, boolean][] = [
    ['without fork id', await legacySigned(), false],
    ['high S', withScript(paid, unlockP2pkh(typed(0x41, highS(signature)), publicKey)), false],
    ['of another amount', withScript(paid, paid.inputs[0]!.script, { outputs: [coin] }), false],
    ['by another key', withScript(paid, unlockP2pkh(typed(0x41), payee('eve').publicKey)), false],
    ['unsigned', withScript(paid, new Uint8Array(0)), false],
    [
      'with something left on the stack',
      withScript(paid, concat(push(publicKey), paid.inputs[0]!.script)),
      false,
    ],
    ['with a longer push than needed', withScript(paid, longPush(paid.inputs[0]!.script)), false],
  ]
  for (const [name, transaction] of cases) await t.rejects(checkScripts(transaction, [coin]), refused, name)
  const [dirty, long] = [cases[5]![1], cases[6]![1]]
  await t.resolves(checkScripts(dirty, [coin], 'consensus'), 'a miner may leave something on the stack')
  await t.resolves(checkScripts(long, [coin], 'consensus'), 'and push the long way')
})

t.test('amounts: the fee is what does not go out, once', async (t) => {
  t.equal(feeOf(paid, [coin]), 100)
  t.throws(() => feeOf(paid, [{ ...coin, satoshis: 899 }]), refused)
  t.throws(() => feeOf(draft([outpoint, outpoint], [coin]), [coin, coin]), refused)
})

t.test('paths lead to the root of any block, at every place', async (t) => {
  for (const count of [1, 2, 3, 4, 5, 7, 8, 13]) {
    const txids = Array.from({ length: count }, (_, n) => sha256Hex(`${count} ${n}`))
    for (const [index, txid] of txids.entries()) {
      const path = makePath(7, txids, index)
      t.strictSame(rootOf(path, txid), { root: merkleRoot(txids), index })
      t.strictSame(parsePath(serializePath(path)), path)
      const theirs = sdk.MerklePath.fromHex(toHex(serializePath(path)))
      t.equal(theirs.computeRoot(txid), merkleRoot(txids), `${index} of ${count} by the sdk`)
      t.equal(theirs.toHex(), toHex(serializePath(path)))
    }
    t.throws(() => rootOf(makePath(7, txids, 0), sha256Hex('another')), malformed)
  }
  const txids = Array.from({ length: 6 }, (_, n) => sha256Hex(`compound ${n}`))
  const compound = sdk.MerklePath.fromHex(toHex(serializePath(makePath(9, txids, 1))))
  compound.combine(sdk.MerklePath.fromHex(toHex(serializePath(makePath(9, txids, 4)))))
  const both = parsePath(Uint8Array.from(compound.toBinary()))
  for (const index of [1, 4]) t.equal(rootOf(both, txids[index]!).root, merkleRoot(txids), 'one path for two')
})

/** A mined funding, a payment of it, and a payment of that. */
function family() {
  const funding = draft([{ txid: sha256Hex('older'), vout: 0 }], [coin, coin])
  const spend = (parent: Transaction, vout: number, satoshis: number) => {
    const from = { txid: txidOf(parent), vout }
    return signAll(draft([from], [{ satoshis, script: alice.script }]), [parent.outputs[vout]!], alice)
  }
  const child = spend(funding, 0, 950)
  const grandchild = spend(child, 0, 900)
  const txids = [sha256Hex('coinbase'), txidOf(funding), sha256Hex('other')]
  const members = new Map<string, Member>()
  const add = (transaction: Transaction, path?: Member['path']) =>
    members.set(txidOf(transaction), { txid: txidOf(transaction), transaction, ...(path && { path }) })
  add(funding, makePath(500, txids, 1))
  add(child)
  add(grandchild)
  const headers = {
    isValidRootForHeight: async (root: string, height: number) =>
      root === merkleRoot(txids) && height === 500,
    currentHeight: async () => 600,
  }
  return { funding, child, grandchild, members, headers, spend, add, txids }
}

t.test('BEEF: whole, understood by the sdk, and its own spelling', async (t) => {
  const { members, grandchild, headers, child } = family()
  const bytes = await makeBeef(txidOf(grandchild), (txid) => members.get(txid))
  const beef = parseBeef(bytes)

  t.equal(beef.subject.txid, txidOf(grandchild))
  t.equal(beef.members.size, 3)
  t.strictSame(await verifyBeef(beef, headers), [child.outputs[0]])
  const theirs = sdk.Transaction.fromAtomicBEEF([...bytes])
  t.equal(theirs.id('hex'), txidOf(grandchild))
  t.equal(await theirs.verify(headers, undefined), true)
  const again = parseBeef(Uint8Array.from(theirs.toAtomicBEEF()))
  t.same([...again.members.keys()].sort(), [...beef.members.keys()].sort())
  const version2 = sdk.Beef.fromBinary([...bytes])
  version2.version = sdk.BEEF_V2
  const second = Uint8Array.from(sdk.Beef.fromBinary(version2.toBinary()).toBinaryAtomic(txidOf(grandchild)))
  t.equal(parseBeef(second).subject.txid, txidOf(grandchild), 'BRC-96')
  t.throws(() => parseBeef(concat(bytes, Uint8Array.of(0))), malformed)
  await t.rejects(
    makeBeef(txidOf(grandchild), (txid) => (txid === txidOf(child) ? undefined : members.get(txid))),
    { code: 'ERR_NOT_FOUND' },
  )
})

t.test('BEEF: nothing is believed that is not proven', async (t) => {
  const { members, funding, child, grandchild, headers, spend, add } = family()
  const verify = (changes: Partial<Record<'members', Member[]>>, subject = grandchild) => {
    const list = new Map((changes.members ?? [...members.values()]).map((member) => [member.txid, member]))
    return verifyBeef({ members: list, subject: list.get(txidOf(subject))! }, headers)
  }
  const member = (transaction: Transaction): Member => ({ txid: txidOf(transaction), transaction })
  const proven = members.get(txidOf(funding))!
  await t.resolves(verify({}))

  await t.rejects(verify({ members: [member(child), member(grandchild)] }), refused, 'a parent is missing')
  await t.rejects(
    verify({ members: [proven, member(grandchild), member(child)] }),
    refused,
    'a parent stands behind its child',
  )
  const elsewhere = { ...proven, path: { ...proven.path!, height: 501 } }
  await t.rejects(
    verify({ members: [elsewhere, member(child), member(grandchild)] }),
    refused,
    'another block',
  )
  const unsigned = withScript(child, new Uint8Array(0))
  await t.rejects(verify({ members: [proven, member(unsigned)] }, unsigned), refused, 'unsigned')
  const rival = spend(funding, 0, 940)
  await t.rejects(verify({ members: [proven, member(rival), member(child)] }, child), refused, 'spent twice')
  const newer = signAll({ ...draft([{ txid: proven.txid, vout: 0 }], [coin]), version: 2 }, [coin], alice)
  await t.rejects(verify({ members: [proven, member(newer)] }, newer), refused, 'version 2')
  const waiting = draft([{ txid: proven.txid, vout: 0 }], [coin], { lockTime: 700 })
  const inputs = waiting.inputs.map((input) => ({ ...input, sequence: 0 }))
  const locked = signAll({ ...waiting, inputs }, [coin], alice)
  await t.rejects(verify({ members: [proven, member(locked)] }, locked), refused, 'not final')
  const more = spend(funding, 1, 1001)
  add(more)
  await t.rejects(verify({ members: [proven, member(more)] }, more), refused, 'more than there is')
})

t.test('BEEF: a coinbase is spent when it is a hundred blocks deep', async (t) => {
  const coinbase = draft([{ txid: '00'.repeat(32), vout: 0xffffffff }], [coin])
  const child = signAll(
    draft([{ txid: txidOf(coinbase), vout: 0 }], [{ ...coin, satoshis: 900 }]),
    [coin],
    alice,
  )
  const path = makePath(500, [txidOf(coinbase)], 0)
  const bytes = await makeBeef(txidOf(child), (txid) =>
    txid === txidOf(child) ? { txid, transaction: child } : { txid, transaction: coinbase, path },
  )
  const at = (height: number) => ({
    isValidRootForHeight: async (root: string) => root === txidOf(coinbase),
    currentHeight: async () => height,
  })
  await t.rejects(verifyBeef(parseBeef(bytes), at(598)), refused)
  await t.resolves(verifyBeef(parseBeef(bytes), at(599)))
})

/** Signed as before the fork, which wallets must not take either. */
async function legacySigned(): Promise<Transaction> {
  const key = new sdk.PrivateKey([...alice.privateKey])
  const parsed = sdk.Transaction.fromHex(toHex(serializeTransaction(draft([outpoint], paid.outputs))))
  const scope = sdk.TransactionSignature.SIGHASH_ALL
  const input = parsed.inputs[0]!
  const said = sdk.TransactionSignature.format({
    sourceTXID: outpoint.txid,
    sourceOutputIndex: outpoint.vout,
    sourceSatoshis: coin.satoshis,
    transactionVersion: 1,
    otherInputs: [],
    outputs: parsed.outputs,
    inputIndex: 0,
    subscript: sdk.LockingScript.fromHex(toHex(coin.script)),
    inputSequence: input.sequence ?? 0xffffffff,
    lockTime: 0,
    scope,
  })
  const der = key.sign(sdk.Hash.sha256(said)).toDER() as number[]
  return withScript(paid, unlockP2pkh(Uint8Array.from([...der, scope]), alice.publicKey))
}

/** The other signature with the same r. */
function highS(der: Uint8Array): Uint8Array {
  const { r, s } = sdk.Signature.fromDER([...der])
  const order = new sdk.Curve().n
  return Uint8Array.from(new sdk.Signature(r, order.sub(s)).toDER() as number[])
}

/** The same two pushes, the first with a length byte of its own. */
const longPush = (script: Uint8Array): Uint8Array => concat(Uint8Array.of(0x4c), script)

t.test('a digest is 32 bytes of the preimage', async (t) => {
  t.strictSame(sighash(paid, 0, coin), sha256(sha256(preimage(paid, 0, coin))))
})

t.test(
  'paths: places outside of the tree are refused; what a transaction does not need is left out',
  async (t) => {
    const txids = Array.from({ length: 6 }, (_, n) => sha256Hex(`branch ${n}`))
    const path = makePath(9, txids, 1)
    const outside = {
      ...path,
      levels: path.levels.map((level, at) =>
        at === 0 ? new Map([...level, [8, [...level.values()][0]!]]) : level,
      ),
    }
    t.throws(() => parsePath(serializePath(outside)), malformed)
    const vast = concat(fromHex('09'), Uint8Array.of(33), ...Array(33).fill(Uint8Array.of(0)))
    t.throws(() => parsePath(vast), malformed, 'more levels than any block has')

    const compound = sdk.MerklePath.fromHex(toHex(serializePath(path)))
    compound.combine(sdk.MerklePath.fromHex(toHex(serializePath(makePath(9, txids, 4)))))
    const both = parsePath(Uint8Array.from(compound.toBinary()))
    for (const index of [1, 4])
      t.strictSame(serializePath(branchOf(both, txids[index]!)), serializePath(makePath(9, txids, index)))
    const alone = makePath(9, txids.slice(0, 1), 0)
    t.strictSame(branchOf(alone, txids[0]!), alone)
  },
)

t.test('scripts of strangers cost a bounded time', async (t) => {
  // A megabyte by doubling, hashed again and again: 343 bytes of script.
  const doubling = concat(Uint8Array.of(1, 1), ...Array(19).fill(fromHex('767e')))
  const script = concat(doubling, ...Array(100).fill(fromHex('76a875')), Uint8Array.of(0x51))
  const many = Array.from({ length: 300 }, (_, vout) => ({ txid: sha256Hex('many'), vout }))
  const anyone = { satoshis: 10, script: Uint8Array.of(0x51) }
  for (const [inputs, spent] of [
    [[outpoint], { satoshis: 1000, script }],
    [many, anyone],
  ] as const) {
    const transaction = draft(inputs, [{ satoshis: 1, script: alice.script }])
    const began = process.cpuUsage()
    await checkScripts(
      transaction,
      inputs.map(() => spent),
    ).catch((error) => t.match(error, refused))
    const { user } = process.cpuUsage(began)
    t.ok(user < 5_000_000, `${Math.round(user / 1000)} ms`)
  }
  await t.rejects(checkScripts(draft([outpoint], [coin]), [{ satoshis: 1000, script }]), refused)
})

t.test('plain inputs cost some of the budget, and others have their turn meanwhile', async (t) => {
  let turns = 0
  const inputs = Array.from({ length: 520 }, (_, vout) => ({ txid: sha256Hex('many'), vout }))
  const check = (count: number, left: number) => {
    const spent = Array.from({ length: count }, () => coin)
    const outputs = [{ satoshis: 1, script: alice.script }]
    const signed = signAll(draft(inputs.slice(0, count), outputs), spent, alice)
    return checkScripts(signed, spent, 'policy', { left, giveWay: async () => void turns++ })
  }
  await t.resolves(check(500, 100_000))
  t.equal(turns, 7, 'every 64 inputs')
  await t.rejects(check(520, 100_000), { ...refused, message: /input 500 .*cost too much/ })
  const headers = { isValidRootForHeight: async () => true, currentHeight: async () => 600 }
  const { members, grandchild } = family()
  const subject = members.get(txidOf(grandchild))!
  await t.rejects(verifyBeef({ members, subject }, headers, { left: 399 }), refused, 'ancestors cost as much')
  await t.resolves(verifyBeef({ members, subject }, headers, { left: 400 }))
})
