/** The gate of payments by 402: what is taken, what is refused and how, and what blocks make of it later. */
import t from 'tap'
import { paymentHeaders, type WebPayment } from '../../contracts/payment.ts'
import { makeBeef, parseBeef } from '../../contracts/transaction/beef.ts'
import { parseTransaction, txidOf } from '../../contracts/transaction/transaction.ts'
import { fromBase64, toBase64 } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { sha256Hex as hash } from '../../market/hash.ts'
import {
  findPayment,
  forgetPayment,
  mostUnsent,
  rememberPayment,
  settlePayment,
  unminedOf,
} from '../../relay/store/payments.ts'
import type { Use } from '../../relay/till/till.ts'
import { nothing, serveLies } from '../fixtures/chain.ts'
import { fund, ownScript, spendBytes } from '../fixtures/devnet-coins.ts'
import { beefOf, keysOf, memberOf, paymentScript } from '../fixtures/wallet.ts'
import { bytesOf, mineInstead, openTillScene, payWith, twinOf } from '../fixtures/till.ts'

const use: Use = { price: 1000, what: 'PUT /one' }
const refused = (error: unknown) => {
  const { code, extras } = error as MarketError
  return { code, ...extras }
}

t.test('a payment becomes credit once, however often it is presented, for what it was made', async (t) => {
  const scene = await openTillScene(t)
  const { till, pass, entries, differences, wallet } = await scene.counter()
  const alice = await scene.payer('alice')
  const owner = alice.identity

  const offer = till.offer(owner, 1000)
  t.match(offer, {
    [paymentHeaders.version]: '1.0',
    [paymentHeaders.required]: '1000',
    [paymentHeaders.transports]: 'header,multipart',
  })
  t.not(till.offer(owner, 1000)[paymentHeaders.prefix], offer[paymentHeaders.prefix])
  const payment = await payWith(alice, { satoshis: 1200, till })
  scene.clock.now += 1000
  const all = await Promise.all(Array.from({ length: 30 }, () => till.take(owner, payment, use)))
  const { txid } = payment
  const taken = { txid, satoshis: 1200, pending: 0, at: scene.clock.now }
  t.same(all[0], { ...taken, isRepeat: false })
  for (const other of all.slice(1)) t.same(other, { ...taken, isRepeat: true })
  t.same(await scene.devnet.call('getrawmempool'), [txid], 'the relay sent it, for its payer had not')
  t.same(till.creditOf(owner), { available: 1200, pending: 0 })
  t.same(await wallet.balance(), { confirmed: 0, unconfirmed: 1200, reserved: 0 })

  scene.clock.now += 1000
  t.same(
    await till.take(owner, payment, { ...use, price: 5000 }),
    { ...taken, isRepeat: true },
    'at its old price',
  )
  await t.rejects(till.take(owner, payment, { ...use, what: 'PUT /two' }), {
    code: 'ERR_PAYMENT_REPLAYED',
    extras: { txid, broadcast: true },
  })
  await scene.devnet.node.mine(1)
  await pass()
  t.same(await till.take(owner, payment, use), { ...taken, isRepeat: true })
  t.same(await entries(owner), [`received payment ${txid} 1200`])
  t.same(await differences(), [])
})

t.test('refusals say why, and that nothing was sent', async (t) => {
  const scene = await openTillScene(t)
  const { till, store, entries, differences } = await scene.counter()
  const alice = await scene.payer('alice', [50_000, 50_000, 50_000, 50_000])
  const bob = await scene.payer('bob')
  const owner = alice.identity
  const good = await payWith(alice, { satoshis: 1000, till })
  const { subject, members } = parseBeef(fromBase64(good.transaction))
  const beefWith = async (script: Uint8Array) => {
    const { inputs } = subject.transaction
    const transaction = { ...subject.transaction, inputs: inputs.map((input) => ({ ...input, script })) }
    const forged = { txid: txidOf(transaction), transaction }
    return toBase64(
      await makeBeef(forged.txid, (txid) => (txid === forged.txid ? forged : members.get(txid))),
    )
  }
  const prefix = till.offer(owner, 1)[paymentHeaders.prefix]!
  const flipped = `${prefix[0] === 'A' ? 'B' : 'A'}${prefix.slice(1)}`
  const late = [...prefix]
  late[14] = late[14] === 'A' ? 'B' : 'A'
  const cases: [string, WebPayment, string, object][] = [
    [
      'too little',
      await payWith(alice, { satoshis: 999, till }),
      'ERR_INSUFFICIENT_PAYMENT',
      { satoshisRequired: 1000, satoshis: 999 },
    ],
    [
      'another key',
      await payWith(alice, { satoshis: 1000, till, to: bob.identity }),
      'ERR_MALFORMED_PAYMENT',
      {},
    ],
    ['another suffix', { ...good, derivationSuffix: 'other' }, 'ERR_MALFORMED_PAYMENT', {}],
    ['a long suffix', { ...good, derivationSuffix: 'x'.repeat(399) }, 'ERR_MALFORMED_PAYMENT', {}],
    ['an own prefix', { ...good, derivationPrefix: 'bXkgb3du' }, 'ERR_INVALID_DERIVATION_PREFIX', {}],
    ['a changed prefix', { ...good, derivationPrefix: flipped }, 'ERR_INVALID_DERIVATION_PREFIX', {}],
    ['a changed time', { ...good, derivationPrefix: late.join('') }, 'ERR_INVALID_DERIVATION_PREFIX', {}],
    [
      'the prefix of another payer',
      { ...good, derivationPrefix: till.offer(bob.identity, 1)[paymentHeaders.prefix]! },
      'ERR_INVALID_DERIVATION_PREFIX',
      {},
    ],
    ['no BEEF', { ...good, transaction: 'AAAA' }, 'ERR_MALFORMED_PAYMENT', {}],
    ['too long', { ...good, transaction: 'AAAA'.repeat(600_000) }, 'ERR_MALFORMED_PAYMENT', {}],
    ['unsigned', { ...good, transaction: await beefWith(new Uint8Array(0)) }, 'ERR_MALFORMED_PAYMENT', {}],
    [
      'signed by nobody',
      { ...good, transaction: await beefWith(Uint8Array.from([1, 2, 1, 2])) },
      'ERR_MALFORMED_PAYMENT',
      {},
    ],
  ]
  for (const [name, payment, code, extras] of cases) {
    const error = await till.take(owner, payment, use).catch(refused)
    t.match(error, { code, broadcast: false, ...extras }, name)
  }
  await t.rejects(
    till.take(bob.identity, good, use),
    { code: 'ERR_INVALID_DERIVATION_PREFIX' },
    'presented by another',
  )
  t.same(await scene.devnet.call('getrawmempool'), [], 'nothing was sent')
  t.same(till.creditOf(owner), { available: 0, pending: 0 })
  t.equal(findPayment(store, { owner, hash: good.txid }), undefined, 'and nothing is remembered')
  t.equal((await till.take(owner, good, use)).satoshis, 1000, 'what was well made is taken after all that')
  t.same(await entries(owner), [`received payment ${good.txid} 1000`])
  t.same(await differences(), [])
})

t.test('scripts that cost much are not run to their end', async (t) => {
  const scene = await openTillScene(t)
  const { till } = await scene.counter()
  const { node, chain } = scene.devnet
  const alice = keysOf('alice')
  for (const [operations, code] of [
    [1000, undefined],
    [60_000, 'ERR_MALFORMED_PAYMENT'],
  ] as const) {
    const lock = new Uint8Array(operations).fill(0x61) // OP_NOP
    const coin = { txid: await node.pay(lock, 20_000), vout: 0, satoshis: 20_000, script: lock }
    await node.mine(1)
    const derivationPrefix = till.offer(alice.identity, 1)[paymentHeaders.prefix]!
    const names = { derivationPrefix, derivationSuffix: 'c3VmZml4' }
    const script = await paymentScript(alice, names, scene.relay.identity)
    const bytes = spendBytes([coin], {
      outputs: [{ satoshis: 5000, script }],
      unlock: () => Uint8Array.of(0x51),
    })
    const own = { txid: txidOf(bytes), transaction: parseTransaction(bytes) }
    const beef = await makeBeef(own.txid, (txid) => (txid === own.txid ? own : memberOf(chain, txid)))
    const taken = await till
      .take(alice.identity, { ...names, transaction: toBase64(beef) }, use)
      .catch(refused)
    t.match(taken, code === undefined ? { satoshis: 5000 } : { code, broadcast: false })
  }
})

t.test('nor are the signatures of thousands of coins', async (t) => {
  const scene = await openTillScene(t)
  const { till } = await scene.counter()
  const { node, chain } = scene.devnet
  const alice = keysOf('alice')
  const outputs = Array.from({ length: 1000 }, () => ({ satoshis: 50, script: ownScript }))
  const split = spendBytes(await fund(node, [ownScript], 100_000), { outputs })
  const txid = await node.submit(split)
  await node.mine(1)
  for (const [count, code] of [
    [400, undefined],
    [550, 'ERR_MALFORMED_PAYMENT'],
  ] as const) {
    const first = code === undefined ? 0 : 400
    const coins = outputs.slice(0, count).map((output, at) => ({ ...output, txid, vout: first + at }))
    const derivationPrefix = till.offer(alice.identity, 1)[paymentHeaders.prefix]!
    const names = { derivationPrefix, derivationSuffix: 'c3VmZml4' }
    const script = await paymentScript(alice, names, scene.relay.identity)
    const bytes = spendBytes(coins, { outputs: [{ satoshis: 1000, script }] })
    const own = { txid: txidOf(bytes), transaction: parseTransaction(bytes) }
    const beef = await makeBeef(own.txid, (id) => (id === own.txid ? own : memberOf(chain, id)))
    const taken = await till
      .take(alice.identity, { ...names, transaction: toBase64(beef) }, use)
      .catch(refused)
    t.match(taken, code === undefined ? { satoshis: 1000 } : { code, broadcast: false }, `${count} inputs`)
  }
})

t.test('one payer does not keep the others waiting', async (t) => {
  const scene = await openTillScene(t)
  const { till, differences } = await scene.counter()
  const alice = await scene.payer('alice', [5000, 5000, 5000, 5000, 5000, 5000])
  const bob = await scene.payer('bob')
  const payments: WebPayment[] = []
  for (let n = 0; n < 6; n++) payments.push(await payWith(alice, { satoshis: 1000, till }))
  const other = await payWith(bob, { satoshis: 1000, till })
  const all = [...payments, ...payments].map((payment) =>
    till.take(alice.identity, payment, use).catch(refused),
  )
  t.match(await till.take(bob.identity, other, use), { satoshis: 1000 })
  const [taken, busy] = [{ satoshis: 1000 }, { code: 'ERR_BUSY', broadcast: false, retryAfterMs: Number }]
  const each = [taken, taken, taken, taken, busy, busy]
  t.match(await Promise.all(all), [...each, ...each], 'four of hers at once, each as often as she likes')
  for (const payment of payments) t.match(await till.take(alice.identity, payment, use), taken)
  t.equal(till.creditOf(alice.identity).available, 6000)
  t.same(await differences(), [])
})

t.test('coins that were spent before pay nothing; those spent after are taken out again', async (t) => {
  const scene = await openTillScene(t)
  const { till, pass, entries, differences, store } = await scene.counter()
  const alice = await scene.payer('alice', [20_000])
  const twin = await twinOf(scene, 'alice')
  const owner = alice.identity
  const [early, other] = [
    await payWith(alice, { satoshis: 5000, till }),
    await payWith(twin, { satoshis: 5000, to: scene.relay.identity, prefix: 'elsewhere' }),
  ]
  await scene.devnet.node.submit(bytesOf(twin, other.txid))
  t.match(await till.take(owner, early, use).catch(refused), {
    code: 'ERR_PAYMENT_CONFLICT',
    broadcast: false,
    txid: early.txid,
  })
  await scene.devnet.node.mine(1)
  t.match(await till.take(owner, early, use).catch(refused), {
    code: 'ERR_PAYMENT_CONFLICT',
    broadcast: false,
  })
  t.same(await entries(owner), [])

  const bob = await scene.payer('bob', [20_000])
  const thief = await twinOf(scene, 'bob')
  const paid = await payWith(bob, { satoshis: 6000, till })
  const stolen = await payWith(thief, { satoshis: 6000, prefix: 'elsewhere' })
  await till.take(bob.identity, paid, use)
  t.same(till.creditOf(bob.identity), { available: 6000, pending: 0 })
  await mineInstead(scene.devnet, bytesOf(thief, stolen.txid))
  await pass()
  t.same(till.creditOf(bob.identity), { available: 0, pending: 0 })
  t.match(await till.take(bob.identity, paid, use).catch(refused), {
    code: 'ERR_PAYMENT_CONFLICT',
    broadcast: true,
    txid: paid.txid,
  })
  await pass()
  t.same(await entries(bob.identity), [
    `received payment ${paid.txid} 6000`,
    `returned reversed ${paid.txid} -6000`,
  ])
  t.same(unminedOf(store, bob.identity), { resting: 0, pending: 0 })
  t.same(await differences(), [])
})

t.test('credit that rests on unmined payments is bounded; the rest counts in a block', async (t) => {
  const scene = await openTillScene(t)
  const { till, pass, entries, differences } = await scene.counter({ zeroConfLimit: 4000 })
  const alice = await scene.payer('alice', [20_000, 20_000, 20_000, 20_000])
  const owner = alice.identity
  const first = await payWith(alice, { satoshis: 3000, till })
  const second = await payWith(alice, { satoshis: 9000, till })
  t.match(await till.take(owner, first, use), { pending: 0 })
  t.match(await till.take(owner, second, use), { satoshis: 9000, pending: 8000 })
  t.same(till.creditOf(owner), { available: 4000, pending: 8000 })
  const third = await payWith(alice, { satoshis: 1000, till })
  t.match(await till.take(owner, third, use), { pending: 1000, isRepeat: false })
  t.match(await till.take(owner, second, use), { pending: 8000, isRepeat: true })
  await scene.devnet.node.mine(1)
  await pass()
  t.same(till.creditOf(owner), { available: 13_000, pending: 0 })
  t.match(await till.take(owner, second, use), { pending: 0, isRepeat: true })
  t.same(
    (await entries(owner)).sort(),
    [
      `received payment ${first.txid} 3000`,
      `received payment ${second.txid} 1000`,
      `received payment ${second.txid} 8000`,
      `received payment ${third.txid} 1000`,
    ].sort(),
  )
  const mined = await payWith(alice, { satoshis: 7000, till, isSent: true })
  await scene.devnet.node.mine(1)
  t.match(await till.take(owner, mined, use), { satoshis: 7000, pending: 3000 }, 'a block that is not shown')
  await pass()
  t.same(till.creditOf(owner), { available: 20_000, pending: 0 })
  t.same(await differences(), [])
  const careful = await scene.counter({ folder: 'careful', zeroConfLimit: 0 })
  const bob = await scene.payer('bob')
  const fourth = await payWith(bob, { satoshis: 1000, till: careful.till })
  t.match(await careful.till.take(bob.identity, fourth, use), { satoshis: 1000, pending: 1000 })
  t.same(careful.till.creditOf(bob.identity), { available: 0, pending: 1000 })
  t.same(await careful.entries(bob.identity), [], 'nothing at all before a block')
  await scene.devnet.node.mine(1)
  await careful.pass()
  t.same(careful.till.creditOf(bob.identity), { available: 1000, pending: 0 })
  t.same(await careful.differences(), [])
})

t.test('all payers together have a hundred times as much', async (t) => {
  const scene = await openTillScene(t)
  const { store, differences } = await scene.counter()
  const limit = 10
  const facts = { what: hash('what'), satoshis: 1000, prefix: 'p', suffix: 's', tx: '' }
  const pay = (owner: string, n: number) =>
    store.commit((batch) => {
      const name = { owner, hash: hash(`${owner} ${n}`) }
      rememberPayment(batch, name, facts)
      return settlePayment(batch, name, { state: 'unmined', height: 0 }, limit)?.credited
    })
  const owners = Array.from({ length: 100 }, (_, n) => keysOf(`payer ${n}`).identity)
  t.same(new Set(await Promise.all(owners.map((owner) => pay(owner, 1)))), new Set([limit]))
  t.equal(await pay(keysOf('one more').identity, 1), 0)
  const [first = ''] = owners
  const name = { owner: first, hash: hash(`${first} 1`) }
  await store.commit((batch) => settlePayment(batch, name, { state: 'mined', height: 7 }, limit))
  t.equal(await pay(keysOf('another').identity, 1), limit, 'a block makes room')
  t.same(await differences(), [])
})

t.test('so many payments wait for the network, and no more', async (t) => {
  const scene = await openTillScene(t)
  const { store } = await scene.counter()
  const facts = { what: hash('what'), satoshis: 1000, prefix: 'p', suffix: 's', tx: '' }
  const { identity: owner } = keysOf('payer')
  const name = (n: number) => ({ owner, hash: hash(`${n}`) })
  const remember = (n: number) => store.commit((batch) => rememberPayment(batch, name(n), facts))
  await Promise.all(Array.from({ length: mostUnsent }, (_, n) => remember(n)))
  await t.rejects(remember(mostUnsent), { code: 'ERR_BUSY' })
  t.equal((await remember(0)).state, 'taken', 'what is remembered already is no more')
  await store.commit((batch) => forgetPayment(batch, name(0)))
  t.equal((await remember(mostUnsent)).state, 'taken')
})

t.test('a reorganisation takes a payment out of its block, and what follows decides', async (t) => {
  const scene = await openTillScene(t)
  const { till, pass, entries, differences, store } = await scene.counter()
  const alice = await scene.payer('alice', [60_000])
  const twin = await twinOf(scene, 'alice')
  const owner = alice.identity
  const payment = await payWith(alice, { satoshis: 25_000, till })
  const conflict = await payWith(twin, { satoshis: 1000, prefix: 'elsewhere' })
  const { txid } = payment
  const state = () => findPayment(store, { owner, hash: txid })?.state
  await till.take(owner, payment, use)
  await scene.devnet.node.mine(1)
  await pass()
  t.equal(state(), 'mined')
  t.same(till.creditOf(owner), { available: 25_000, pending: 0 })

  await scene.devnet.node.reorganize(1)
  await pass()
  t.equal(state(), 'unmined')
  t.same(till.creditOf(owner), { available: 25_000, pending: 0 }, 'what was credited stays')
  t.same(unminedOf(store, owner), { resting: 25_000, pending: 0 }, 'but cannot be withdrawn')
  await scene.devnet.node.mine(1)
  await pass()
  t.equal(state(), 'mined')
  t.same(unminedOf(store, owner), { resting: 0, pending: 0 })
  t.equal((await entries(owner)).length, 2)

  await scene.devnet.node.reorganize(1, [bytesOf(twin, conflict.txid)])
  await pass()
  t.equal(state(), 'reversed')
  t.same(till.creditOf(owner), { available: 0, pending: 0 })
  t.match(await till.take(owner, payment, use).catch(refused), {
    code: 'ERR_PAYMENT_CONFLICT',
    broadcast: true,
  })
  t.equal((await entries(owner)).at(-1), `returned reversed ${txid} -25000`)

  await scene.devnet.node.reorganize(2, [bytesOf(alice, txid)])
  await pass()
  t.equal(state(), 'mined', 'and it comes back with the other branch')
  t.same(till.creditOf(owner), { available: 25_000, pending: 0 })
  t.match(await till.take(owner, payment, use), { satoshis: 25_000, pending: 0, isRepeat: true })
  await scene.devnet.node.mine(110)
  await pass()
  await pass()
  t.same(await entries(owner), [
    `received payment ${txid} 10000`,
    `received payment ${txid} 15000`,
    `returned reversed ${txid} -25000`,
    `received payment ${txid} 25000`,
  ])
  t.same(await differences(), [])
})

t.test('the same payment under another id is the same money', async (t) => {
  for (const isPresentedLate of [true, false]) {
    const scene = await openTillScene(t)
    const { till, pass, differences } = await scene.counter({ folder: `late ${isPresentedLate}` })
    const alice = keysOf('alice')
    const owner = alice.identity
    const { node, chain } = scene.devnet
    // Any number but 1 unlocks it: whoever passes a payment on can give it another id.
    const lock = Uint8Array.of(0x51, 0x87, 0x91)
    const coin = { txid: await node.pay(lock, 6000), vout: 0, satoshis: 6000, script: lock }
    await node.mine(1)
    const derivationPrefix = till.offer(owner, 1)[paymentHeaders.prefix]!
    const names = { derivationPrefix, derivationSuffix: 'c3VmZml4' }
    const script = await paymentScript(alice, names, scene.relay.identity)
    const made = async (unlock: number): Promise<[Uint8Array, WebPayment]> => {
      const plan = { outputs: [{ satoshis: 5000, script }], unlock: () => Uint8Array.of(unlock) }
      const bytes = spendBytes([coin], plan)
      const own = { txid: txidOf(bytes), transaction: parseTransaction(bytes) }
      const find = (txid: string) => (txid === own.txid ? own : memberOf(chain, txid))
      return [bytes, { ...names, transaction: toBase64(await makeBeef(own.txid, find)) }]
    }
    const [[, payment], [twinBytes, twin]] = [await made(0x52), await made(0x53)]
    await till.take(owner, payment, use)
    await mineInstead(scene.devnet, twinBytes)
    if (isPresentedLate) await pass()
    const again = await beefOf(chain, txidOf(twinBytes))
    const shown = { ...twin, transaction: toBase64(Uint8Array.from(again)) }
    t.match(await till.take(owner, shown, { ...use, what: 'another' }), { satoshis: 5000, isRepeat: false })
    await pass()
    t.same(till.creditOf(owner), { available: 5000, pending: 0 }, 'one of the two is in a block')
    t.same(await differences(), [])
  }
})

t.test('a network that does not answer', async (t) => {
  const scene = await openTillScene(t)
  let isArmed = false
  let isAway = true
  const chain = await serveLies(t, scene.devnet, (method, result) => {
    isAway ||= isArmed && method === 'sendrawtransaction'
    return isAway ? nothing : result
  })
  const { till, pass, entries, differences, store, warnings } = await scene.counter({ chain })
  const alice = await scene.payer('alice', [50_000])
  const owner = alice.identity
  const payment = await payWith(alice, { satoshis: 2000, till })
  const { txid } = payment
  const state = () => findPayment(store, { owner, hash: txid })?.state

  const unheard = { code: 'ERR_CHAIN_UNAVAILABLE', txid }
  t.match(await till.take(owner, payment, use).catch(refused), { ...unheard, broadcast: false })
  t.equal(state(), undefined, 'what nobody can verify is not promised')
  isArmed = true
  isAway = false
  t.match(await till.take(owner, payment, use).catch(refused), { ...unheard, broadcast: true })
  t.equal(state(), 'taken', 'it was sent, and nobody said whether it arrived')
  t.same(till.creditOf(owner), { available: 0, pending: 0 })
  await till.follow()
  await till.follow()
  t.equal(warnings.length, 1)
  isArmed = isAway = false
  await pass()
  t.equal(state(), 'unmined')
  t.match(await till.take(owner, payment, use), { satoshis: 2000, isRepeat: true })
  t.same(await entries(owner), [`received payment ${txid} 2000`])
  t.same(unminedOf(store, owner), { resting: 2000, pending: 0 })
  t.same(await differences(), [])
})

t.test('payments that come all at once are taken, or asked to come again; none without room', async (t) => {
  const scene = await openTillScene(t)
  let isFull = false
  const admit = () => {
    if (isFull) throw new MarketError('ERR_BUSY', 'the disk is full')
  }
  const { till, differences } = await scene.counter({ admit })
  const payments: { owner: string; payment: WebPayment }[] = []
  for (const name of ['alice', 'bob', 'carl', 'dora', 'eric']) {
    const payer = await scene.payer(name, [2000, 2000, 2000, 2000])
    for (let n = 0; n < 4; n++)
      payments.push({ owner: payer.identity, payment: await payWith(payer, { satoshis: 100, till }) })
  }
  const any = { ...use, price: 0 }
  const all = await Promise.allSettled(payments.map(({ owner, payment }) => till.take(owner, payment, any)))
  t.equal(all.filter(({ status }) => status === 'fulfilled').length, 16)
  for (const result of all)
    if (result.status === 'rejected')
      t.match(refused(result.reason), { code: 'ERR_BUSY', broadcast: false, retryAfterMs: Number })
  const { owner, payment: last } = payments.at(-1)!
  isFull = true
  t.match(await till.take(owner, last, any).catch(refused), { code: 'ERR_BUSY', broadcast: false })
  isFull = false
  for (const { owner: payer, payment } of payments) await till.take(payer, payment, any)
  for (const { owner: payer } of payments) t.same(till.creditOf(payer), { available: 400, pending: 0 })
  t.same(await differences(), [])
})
