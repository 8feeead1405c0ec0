/** What a devnet takes and refuses, rule by rule, as the mempool of a node (policy) and as a block (consensus). */
import t from 'tap'
import { concat, toHex } from '../../market/bytes.ts'
import { DevnetNode } from '../../contracts/chain/devnet/node.ts'
import { leastFee } from '../../contracts/chain/devnet/rules.ts'
import { op, p2pkhOfHash, push, unlockP2pkh } from '../../contracts/transaction/script.ts'
import { finalSequence, type Transaction, txidOf, uint32 } from '../../contracts/transaction/transaction.ts'
import {
  type Coin,
  fund,
  ownScript,
  type Plan,
  publicKey,
  signatureOf,
  spendBytes,
  unlockOwn,
  withHighS,
} from '../fixtures/devnet-coins.ts'

const start = 1_800_000_000
const now = (): number => start * 1000
const script = (...bytes: number[]): Uint8Array => Uint8Array.of(...bytes)
const [one, two, drop, nop, not, checkMultisig, lockTimeVerify] = [0x51, 0x52, 0x75, 0x61, 0x91, 0xae, 0xb1]
const multisig = concat(script(one), push(publicKey), script(one, checkMultisig))
const elsewhere = p2pkhOfHash(new Uint8Array(20))
const to = (satoshis: number, script = ownScript) => ({ outputs: [{ satoshis, script }] })
const unlockWith = (...bytes: number[]) => ({ unlock: () => script(...bytes) })
const bySignature = (change: (signature: Uint8Array) => Uint8Array): Plan => ({
  unlock: (transaction, index, coin) => unlockP2pkh(change(signatureOf(transaction, index, coin)), publicKey),
})
const onlySignature =
  (dummy: number) =>
  (transaction: Transaction, index: number, coin: Coin): Uint8Array =>
    concat(script(dummy), push(signatureOf(transaction, index, coin)))
const sizeOf = (plan: Plan) =>
  spendBytes([{ txid: '00'.repeat(32), vout: 0, satoshis: 10_000, script: ownScript }], plan).length

const taken = 'taken'
const policyScript = { code: -26, message: /^64: non-mandatory-script-verify-flag \(/ }
const badScript = { code: -26, message: /^16: mandatory-script-verify-flag-failed \(/ }
const refused = (message: string) => ({ code: -26, message })
const missing = { code: -25, message: 'Missing inputs' }
const absent = refused('16: bad-txns-inputs-missingorspent')
type Expected = typeof taken | { code: number; message: string | RegExp }

/** Each with its own coin: what the mempool says, then what a block says. */
const table: [name: string, lock: Uint8Array, plan: Plan, policy: Expected, consensus: Expected][] = [
  ['a payment', ownScript, {}, taken, taken],
  ['version 2', ownScript, { version: 2 }, taken, taken],
  ['version 0', ownScript, { version: 0 }, refused('64: version'), taken],
  ['a negative version', ownScript, { version: 0xffffffff }, refused('64: version'), taken],

  [
    'a signature without fork id',
    ownScript,
    bySignature((s) => concat(s.subarray(0, -1), script(0x01))),
    badScript,
    badScript,
  ],
  [
    'none without fork id in version 2',
    ownScript,
    { version: 2, ...bySignature((s) => concat(s.subarray(0, -1), script(0x01))) },
    badScript,
    badScript,
  ],
  [
    'a signature of something else',
    ownScript,
    { unlock: (tx, index, coin) => unlockOwn({ ...tx, lockTime: 1 }, index, coin) },
    badScript,
    badScript,
  ],
  [
    'a signature for another amount',
    ownScript,
    { unlock: (tx, index, coin) => unlockOwn(tx, index, { ...coin, satoshis: 9999 }) },
    badScript,
    badScript,
  ],
  ['the wrong key', elsewhere, {}, badScript, badScript],
  ['high S', ownScript, bySignature(withHighS), badScript, badScript],
  ['high S in version 2', ownScript, { version: 2, ...bySignature(withHighS) }, taken, taken],
  [
    'high S in version 0',
    ownScript,
    { version: 0, ...bySignature(withHighS) },
    refused('64: version'),
    badScript,
  ],

  ['a null dummy', multisig, { unlock: onlySignature(op.false) }, taken, taken],
  ['another dummy', multisig, { unlock: onlySignature(one) }, policyScript, taken],
  ['another dummy in version 2', multisig, { version: 2, unlock: onlySignature(one) }, taken, taken],
  ['a minimal push', script(drop, one), unlockWith(2, 7, 7), taken, taken],
  ['a push that is too long', script(drop, one), unlockWith(op.pushData1, 2, 7, 7), policyScript, taken],
  [
    'a push that is too long in version 2',
    script(drop, one),
    { version: 2, ...unlockWith(op.pushData1, 2, 7, 7) },
    taken,
    taken,
  ],
  ['a clean stack', script(drop, one), unlockWith(two), taken, taken],
  ['a stack with something left', script(one), unlockWith(two), policyScript, taken],
  ['a stack with something left in version 2', script(one), { version: 2, ...unlockWith(two) }, taken, taken],
  ['an unlocking script that does more than push', script(one), unlockWith(nop), badScript, badScript],
  ['the same in version 2', script(one), { version: 2, ...unlockWith(nop) }, taken, taken],
  [
    'a failing signature that is null',
    concat(push(publicKey), script(op.checkSig, not)),
    unlockWith(op.false),
    taken,
    taken,
  ],
  [
    'a failing signature that is one',
    concat(push(publicKey), script(op.checkSig, not)),
    { unlock: (tx, index, coin) => push(signatureOf({ ...tx, lockTime: 1 }, index, coin)) },
    badScript,
    badScript,
  ],
  [
    'the same in version 2',
    concat(push(publicKey), script(op.checkSig, not)),
    { version: 2, unlock: (tx, index, coin) => push(signatureOf({ ...tx, lockTime: 1 }, index, coin)) },
    taken,
    taken,
  ],
  ['a script that ends in false', script(op.false), unlockWith(), badScript, badScript],
  [
    'a lock by script, which is none since Genesis',
    concat(push(uint32(start + 1e6)), script(lockTimeVerify, drop, one)),
    unlockWith(),
    policyScript,
    taken,
  ],

  ['a push that is not all there', script(drop, one), unlockWith(2, 7), badScript, badScript],
  ['an opcode that is none', script(one, 0xff), unlockWith(), badScript, badScript],
  ['a success that OP_RETURN ends early', script(one, op.return, 0xff), unlockWith(), taken, taken],
  ['data, which is never there to be spent', script(op.false, op.return), unlockWith(), missing, absent],
  ['a failure that OP_RETURN ends early', script(op.return), unlockWith(op.false), badScript, badScript],
  [
    'an unknown kind of signature',
    ownScript,
    bySignature((s) => concat(s.subarray(0, -1), script(0x45))),
    badScript,
    badScript,
  ],
  ['as much out as in but for the least fee', ownScript, to(10_000 - leastFee(sizeOf(to(1)))), taken, taken],
  [
    'a satoshi too little fee',
    ownScript,
    to(10_001 - leastFee(sizeOf(to(1)))),
    refused('66: mempool min fee not met'),
    taken,
  ],
  ['no fee', ownScript, to(10_000), refused('66: mempool min fee not met'), taken],
  [
    'more out than in',
    ownScript,
    to(10_001),
    refused('16: bad-txns-in-belowout'),
    refused('16: bad-txns-in-belowout'),
  ],
  [
    'more than there is',
    ownScript,
    { outputs: Array(3).fill({ satoshis: 1e15, script: ownScript }) },
    refused('16: bad-txns-txouttotal-toolarge'),
    refused('16: bad-txns-txouttotal-toolarge'),
  ],
  ['a satoshi', ownScript, to(1), taken, taken],
  ['nothing to a key', ownScript, to(0), refused('64: dust'), taken],
  ['nothing to OP_RETURN alone', ownScript, to(0, script(op.return)), refused('64: dust'), taken],
  ['data', ownScript, to(0, script(op.false, op.return, 1, 7)), taken, taken],
  [
    'an output to a script hash',
    ownScript,
    to(9000, concat(script(op.hash160, 20), new Uint8Array(20), script(0x87))),
    refused('16: bad-txns-vout-p2sh'),
    refused('16: bad-txns-vout-p2sh'),
  ],
]

t.test('each rule, in the mempool and in a block', async (t) => {
  const node = await DevnetNode.open({ now })
  const coins = await fund(
    node,
    table.map(([, lock]) => lock),
  )

  for (const [index, [name, , plan, policy, consensus]] of table.entries()) {
    const bytes = spendBytes([coins[index]!], plan)
    if (policy === taken) t.equal(await node.submit(bytes), txidOf(bytes), `${name}: the mempool takes it`)
    else await t.rejects(node.submit(bytes), policy, `${name}: the mempool refuses it`)
    const mining = node.mine(1, { transactions: [bytes] })
    if (consensus === taken) {
      await mining
      t.equal(
        node.chain.placeOf(txidOf(bytes))?.block.height,
        node.chain.tip.height,
        `${name}: a block may have it`,
      )
    } else await t.rejects(mining, consensus, `${name}: no block may have it`)
  }
  t.equal(node.mempool.size, 0)
})

t.test('what is not final waits for its height, or for a median time later than its lock', async (t) => {
  const node = await DevnetNode.open({ now })
  const [byHeight, byTime, late, ended] = (await fund(node, Array(4).fill(ownScript))) as [
    Coin,
    Coin,
    Coin,
    Coin,
  ]
  const { height, medianTime } = node.chain.tip
  const locked = { sequence: finalSequence - 1 }
  const atHeight = spendBytes([byHeight], { ...locked, lockTime: height + 1 })
  const atTime = spendBytes([byTime], { ...locked, lockTime: medianTime })
  const nonFinal = { code: -26, message: '64: non-final' }

  await node.submit(spendBytes([late], { ...locked, lockTime: medianTime - 1 }))
  await node.submit(spendBytes([ended], { lockTime: 0xffffffff }))
  for (const bytes of [atHeight, atTime]) {
    await t.rejects(node.submit(bytes), nonFinal)
    await t.rejects(node.mine(1, { transactions: [bytes] }), { code: -26, message: '16: bad-txns-nonfinal' })
  }
  await node.mine(1)
  t.ok(node.chain.tip.medianTime > medianTime)
  await node.submit(atHeight)
  await node.submit(atTime)
  await node.mine(1)
  t.equal(node.mempool.size, 0)
})

t.test('the median time follows the clock of the node, and the clock can be set', async (t) => {
  const node = await DevnetNode.open({ now })
  t.ok(Math.abs(node.chain.tip.medianTime - start) < 20)
  const [coin] = (await fund(node, [ownScript])) as [Coin]
  const bytes = spendBytes([coin], { sequence: 0, lockTime: start + 3600 })

  node.setTime(start + 7200)
  await node.mine(5)
  await t.rejects(node.submit(bytes), { message: '64: non-final' }, 'six blocks of eleven are needed')
  await node.mine(1)
  await node.submit(bytes)
  t.equal(node.chain.tip.medianTime, start + 7200)
  node.setTime(0)
  t.equal(node.time, start)
})

t.test('an output is spent once, in the mempool and in the chain', async (t) => {
  const node = await DevnetNode.open({ now })
  const [coin] = (await fund(node, [ownScript])) as [Coin]
  const first = spendBytes([coin])
  const second = spendBytes([coin], to(8000))

  await node.submit(first)
  await t.rejects(node.submit(second), { code: -26, message: '258: txn-mempool-conflict' })
  await t.rejects(node.submit(first), { code: -27, message: 'Transaction already in the mempool' })
  await node.mine(1)
  await t.rejects(node.submit(second), { code: -25, message: 'Missing inputs' })
  await t.rejects(node.mine(1, { transactions: [second] }), { message: '16: bad-txns-inputs-missingorspent' })
  await t.rejects(node.submit(first), { code: -26, message: '257: txn-already-known' })
  await node.submit(spendBytes([{ txid: txidOf(first), vout: 0, satoshis: 9000, script: ownScript }]))
  await node.mine(1)
  await t.rejects(
    node.submit(first),
    { code: -25, message: 'Missing inputs' },
    'as a real node, once all is spent',
  )
})

t.test(
  'a miner may prefer a double spend: what conflicts with it leaves the mempool with all that spends it',
  async (t) => {
    const node = await DevnetNode.open({ now })
    const [coin, other] = (await fund(node, [ownScript, ownScript])) as [Coin, Coin]
    const parent = spendBytes([coin])
    const child = spendBytes([{ txid: txidOf(parent), vout: 0, satoshis: 9000, script: ownScript }])
    const bystander = spendBytes([other])
    for (const bytes of [parent, child, bystander]) await node.submit(bytes)

    await node.mine(1, { transactions: [spendBytes([coin], to(7000))] })

    t.equal(node.mempool.size, 0)
    t.same(
      [parent, child, bystander].map((bytes) => node.chain.placeOf(txidOf(bytes)) !== undefined),
      [false, false, true],
    )
  },
)

t.test('a line of transactions that wait is mined in order, whatever the miner insists on', async (t) => {
  const node = await DevnetNode.open({ now })
  const [coin] = (await fund(node, [ownScript], 100_000)) as [Coin]
  const line: Uint8Array[] = []
  for (let at: Coin = coin; line.length < 50; ) {
    const bytes = spendBytes([at])
    line.push(bytes)
    at = { txid: txidOf(bytes), vout: 0, satoshis: at.satoshis - 1000, script: ownScript }
  }
  await t.rejects(node.submit(line[1]!), { code: -25, message: 'Missing inputs' }, 'its parent is not known')
  for (const bytes of line.slice(0, -1)) await node.submit(bytes)

  await node.mine(1, { transactions: [line.at(-1)!], withMempool: false })

  t.same(
    node.chain.tip.members.slice(1).map(({ txid }) => txid),
    line.map(txidOf),
  )
})

t.test('a miner finds what a transaction needs even where each spends its parent twice', async (t) => {
  const node = await DevnetNode.open({ now })
  const coins = await fund(node, [ownScript, ownScript], 50_000)
  const line: Uint8Array[] = []
  for (let [left, right] = coins as [Coin, Coin]; line.length < 40; ) {
    const satoshis = left.satoshis - 1000
    const halves = [satoshis, satoshis].map((amount) => ({ satoshis: amount, script: ownScript }))
    const bytes = spendBytes([left, right], { outputs: halves })
    line.push(bytes)
    left = { txid: txidOf(bytes), vout: 0, satoshis, script: ownScript }
    right = { ...left, vout: 1 }
  }
  for (const bytes of line.slice(0, -1)) await node.submit(bytes)

  await node.mine(1, { transactions: [line.at(-1)!], withMempool: false })

  t.equal(node.chain.tip.members.length, 41)
})

t.test('coins of a miner are spent after a hundred blocks', async (t) => {
  const node = await DevnetNode.open({ now })
  await node.mine(1, { script: ownScript })
  const { txid, bytes } = node.chain.tip.members[0]!
  const spending = spendBytes([{ txid, vout: 0, satoshis: 50e8, script: ownScript }])
  t.ok(toHex(bytes).includes(toHex(ownScript)))

  await node.mine(98)
  const premature = { code: -26, message: '16: bad-txns-premature-spend-of-coinbase' }
  await t.rejects(node.submit(spending), premature)
  await t.rejects(node.mine(1, { transactions: [spending] }), premature)
  await node.mine(1)
  await node.submit(spending)
})

t.test(
  'what is not one transaction is refused as that, and so is one that spends nothing or the same twice',
  async (t) => {
    const node = await DevnetNode.open({ now })
    const [coin] = (await fund(node, [ownScript])) as [Coin]
    const good = spendBytes([coin])
    const notOne = { code: -22, message: 'TX decode failed' }

    await t.rejects(node.submit(concat(good, script(0))), notOne, 'bytes behind it')
    await t.rejects(node.submit(good.subarray(0, -1)), notOne, 'too short')
    await t.rejects(node.submit(new Uint8Array(0)), notOne, 'nothing')
    await t.rejects(node.submit(spendBytes([coin, coin], to(1000))), {
      message: '16: bad-txns-inputs-duplicate',
    })
    const none: Coin = { ...coin, txid: '0'.repeat(64), vout: 0xffffffff }
    await t.rejects(node.submit(spendBytes([none])), { message: '16: bad-tx-coinbase' })
    await t.rejects(node.submit(spendBytes([coin, none])), { message: '16: bad-txns-prevout-null' })
    await t.rejects(
      node.submit(spendBytes([{ ...coin, vout: 9 }])),
      { code: -25 },
      'an output that never was',
    )
    const large = { satoshis: 1, script: concat(script(op.false, op.return), new Uint8Array(4 << 20)) }
    await t.rejects(node.submit(spendBytes([coin], { outputs: [large] })), {
      message: '16: bad-txns-oversize',
    })
    await node.submit(good)
  },
)
