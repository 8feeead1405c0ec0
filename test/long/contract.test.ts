/** Contracts of a client with a real relay on a devnet: opened, paid, closed, had back by time, to the satoshi. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type Receipt, reservedUnits } from '../../contracts/receipt.ts'
import { ceilSatoshi } from '../../market/price.ts'
import { post } from '../../client/mail/post.ts'
import { auditRelays } from '../../client/money/audit.ts'
import { keysOf } from '../fixtures/wallet.ts'
import { type Client, eventually, openMarket, type TestRelay } from '../fixtures/contracting.ts'

t.setTimeout(120_000)
const market = await openMarket(t)
const relay = await market.relay()
let people = 0
const user = (at: TestRelay = relay) => market.user(`alice ${people++}`, { relays: [at.address] })

t.test('a contract is opened and closed unused: fees are all it costs', async (t) => {
  const alice = await user()
  const { call } = alice
  const before = await alice.balance()
  const order = { ...call, budget: 100_000 }

  let plan: any
  const dry = await alice.contracts.open(relay.url, {
    ...order,
    agree: async (shown) => {
      plan = shown
      return false
    },
  })
  t.equal(dry, undefined)
  t.match(plan, {
    budget: 100_000,
    deposit: 10_000,
    relayDeposit: 5000,
    closeFee: 100,
    unused: 110_000,
    network: 'devnet',
  })
  t.same(await alice.contracts.list(), [], 'a plan is no contract')
  t.equal(await alice.balance(), before, 'and costs nothing')

  const view = await alice.contracts.open(relay.url, order)
  t.match(view, { state: 'active', depth: 0, paid: 0, settled: 0, budget: 100_000 })
  await t.rejects(alice.contracts.open(relay.url, order), { code: 'ERR_CONFLICT' })
  await market.devnet.node.mine(6)
  const [pass] = await alice.contracts.tend(call)
  t.match(pass, { state: 'active', depth: 6 })
  t.equal(pass!.error, undefined)

  const closed = await alice.contracts.close(relay.url, call)
  t.match(closed, { state: 'closed' })
  await market.devnet.node.mine(6)
  t.match(await alice.contracts.tend(call), [{ state: 'closed' }])
  t.same(await alice.contracts.tend(call), [], 'it is over')
  const spent = before - (await alice.balance())
  t.ok(spent > 0 && spent <= plan.stakeFee + plan.fundingFee + plan.closeFee, `${spent} satoshi of fees`)
})

const bob = keysOf('bob').identity
const day = 86_400

/** A record of some 90 000 bytes. */
const write = ({ ctx }: Client, { maxPulls = 1, ttlSeconds = 7 * day } = {}) =>
  post(ctx, { to: bob, payload: { type: 'text', text: 'x'.repeat(60_000) }, maxPulls, ttlSeconds })

/** As soon as the relay has heard of the blocks that make it possible. */
const written = (alice: Client, options: Parameters<typeof write>[1] = {}) =>
  eventually(
    () => write(alice, options).catch((error) => error),
    ({ state }) => state === 'delivered',
  )

/** Open, and deep enough to be used. */
async function opened(alice: Client, order: object = {}, at: TestRelay = relay) {
  const view = await alice.contracts.open(at.url, { ...alice.call, budget: 100_000, ...order })
  await market.devnet.node.mine(6)
  await alice.contracts.tend(alice.call)
  const peer = () => alice.ctx.connect(at.address).call({ type: 'ContractState', contract: view!.contract })
  await eventually(
    () => alice.ctx.connect(at.address).call({ type: 'account', limit: 1 }),
    ({ reply }) => reply.result.purses.some(({ purse }) => purse === view!.contract),
  )
  return { id: view!.contract, state: async () => (await peer()).reply.result }
}

t.test('writes are paid for by themselves, settled by audit, and closed for what was used', async (t) => {
  const alice = await user()
  const { contracts, call } = alice
  const { id, state } = await opened(alice)

  for (let count = 0; count < 4; count++) await written(alice)
  const used = await contracts.get(id)
  t.ok(used.paid! > 0, `signed ahead: ${used.paid}`)
  t.ok(used.settled! < 20, 'only the backup of the coins was audited')
  t.ok(used.paid! <= 5000, 'and little is ahead')

  await market.passTime(3 * day)
  const [pass] = await contracts.tend(call)
  t.equal(pass!.error, undefined)
  t.match(pass, { state: 'active', verdict: 'explained' })
  t.ok(pass!.settled! > 300, `settled by audit: ${pass!.settled}`)
  t.match(await state(), { paid: pass!.paid, settled: pass!.settled })
  const before = await alice.balance()
  const paid = await contracts.pay(id, call)
  t.ok(paid.settled! >= pass!.settled!)

  const closed = await contracts.close(id, call)
  t.match(closed, { state: 'closed' })
  const { owed } = closed
  await market.devnet.node.mine(6)
  await contracts.tend(call)
  t.equal((await alice.balance()) - before, 110_000 - closed.settled!, 'the rest came back')
  t.ok(closed.settled! >= owed!)
})

t.test('most writes in a contract ask for nothing else: few payments, and no audits', async (t) => {
  const alice = await user()
  const { id } = await opened(alice)
  await written(alice)
  const connection = alice.ctx.connect(relay.address)
  const counts = new Map<string, number>()
  const call = connection.call.bind(connection)
  const counted: typeof call = (request, ...rest) => {
    counts.set(request.type, (counts.get(request.type) ?? 0) + 1)
    return call(request, ...rest)
  }
  connection.call = counted
  for (let count = 0; count < 16; count++) t.match(await write(alice), { state: 'delivered' })
  t.notOk(counts.has('RequestUsage'), 'an audit')
  const payments = counts.get('ContractPayment') ?? 0
  t.ok(payments > 0 && payments <= 9, `${payments} payments for 16 writes`)
  const { paid, settled, serviceEnd } = await alice.contracts.get(id)
  t.ok(paid! <= settled! + 5000)

  const honest = connection.write.bind(connection)
  const prices = { storageGBDay: 5000, egressGB: 100_000, ingressGB: 1_000_000 }
  const lies: [RegExp, (receipt: Receipt) => object][] = [
    [/prices are not those/, ({ charge }) => ({ charge: { ...charge, prices } })],
    [/unknown contract/, ({ charge }) => ({ charge: { ...charge, purse: 'a'.repeat(64) } })],
    [/not the end of service/, ({ paidUntil }) => ({ paidUntil: paidUntil - 1 })],
  ]
  for (const [message, lie] of lies) {
    connection.write = async (...given) => {
      const answer = await honest(...given)
      const lied = { ...answer.reply.receipt, ...lie(answer.reply.receipt) }
      const reserved = String(ceilSatoshi(reservedUnits(lied)))
      const receipt = { ...lied, charge: { ...lied.charge, reserved } }
      return { ...answer, reply: { ...answer.reply, receipt } }
    }
    const refused = { state: 'queued', failures: [{ error: { code: 'ERR_CONFLICT', message } }] }
    t.match(await write(alice), refused, String(message))
  }
  connection.write = honest
  t.match(await write(alice, { ttlSeconds: 300 * day }), { state: 'delivered' }, 'beyond its service')
  t.ok(market.clock.now + 300 * day * 1000 > serviceEnd * 1000)
})

t.test('what may be spent is what the user said', async (t) => {
  const alice = await user()
  const { id } = await opened(alice, { maxSpend: 100 })

  await written(alice)
  const writes = []
  for (let count = 0; count < 3; count++) writes.push(await write(alice).catch((error) => error))
  const last = writes.at(-1)
  t.match(last.failures?.[0].error ?? last, { code: 'ERR_COST', message: /100 are allowed/ })
  t.ok((await alice.contracts.get(id)).paid! <= 100)
})

t.test('a relay that vanishes: everything comes back by time, and not before', async (t) => {
  const relay = await market.relay('gone 68')
  const alice = await user(relay)
  const { contracts, call } = alice
  const before = await alice.balance()
  const { id } = await opened(alice, {}, relay)
  await relay.close()

  await t.rejects(contracts.refund(id, call), { code: 'ERR_CONFLICT', message: /comes back from 20\d\d-/ })
  const { expiry } = await contracts.get(id)
  await market.passTime(expiry! - Math.floor(market.clock.now / 1000) + 100)
  const back = await contracts.refund(id, call)
  t.match(back, { state: 'refunded' })
  await market.devnet.node.mine(6)
  t.match(await contracts.tend(call), [{ state: 'refunded' }])
  t.same(await contracts.tend(call), [])
  const spent = before - (await alice.balance())
  t.ok(spent < 300, `${spent} satoshi of fees`)
})

t.test('a home that is lost: the wallet alone brings the contract back, and the money out', async (t) => {
  const relay = await market.relay('gone 81')
  const alice = await user(relay)
  const { id } = await opened(alice, {}, relay)
  for (let count = 0; count < 3; count++) await written(alice)
  const { paid } = await alice.contracts.get(id)

  const { cp } = await import('node:fs/promises')
  await cp(`${alice.home}/wallet`, `${market.directory}/again/wallet`, { recursive: true })
  const again = await market.user('again', { satoshis: 0, copyOf: alice })
  t.same(await again.contracts.list(), [])
  t.match(await again.contracts.recover(again.call), [{ contract: id, state: 'active', paid }])
  t.same(await again.contracts.recover(again.call), [], 'once')
  await relay.close()
  const { expiry } = await again.contracts.get(id)
  await market.passTime(expiry! - Math.floor(market.clock.now / 1000) + 100)
  t.match(await again.contracts.tend(again.call), [{ state: 'refunded' }])
})

t.test(
  'a contract is topped up and renewed: records go on, and are paid for under the next one',
  async (t) => {
    const alice = await user()
    const { contracts, call } = alice
    const { id } = await opened(alice)
    for (let count = 0; count < 3; count++) await written(alice)
    await market.passTime(day)
    t.equal((await contracts.tend(call))[0]!.error, undefined)
    const before = await alice.balance()

    const next = await contracts.renew(relay.url, { ...call, topUp: 50_000 })
    t.match(next, { state: 'active', renews: id })
    t.match(await contracts.get(id), { state: 'closed' })
    await market.devnet.node.mine(6)
    t.ok((await contracts.tend(call)).every(({ error }) => error === undefined))
    const state = () =>
      alice.ctx.connect(relay.address).call({ type: 'ContractState', contract: next!.contract })
    await eventually(state, ({ reply }) => reply.result.state === 'active')
    for (let count = 0; count < 3; count++)
      t.match(
        await eventually(
          () => write(alice),
          ({ state }) => state === 'delivered',
        ),
        { state: 'delivered' },
      )
    await market.passTime(2 * day)
    const passes = await contracts.tend(call)
    t.same(
      passes.map(({ error }) => error?.message),
      passes.map(() => undefined),
    )
    const paid = await contracts.get(next!.contract)
    t.match(paid, { verdict: 'explained' })
    const { owed } = (await state()).reply.result
    t.ok(Math.abs(paid.settled! - owed) <= 2, `settled ${paid.settled} of ${owed}`)

    const closed = await contracts.close(next!.contract, call)
    t.match(closed, { state: 'closed' })
    await market.devnet.node.mine(6)
    await contracts.tend(call)
    t.ok((await alice.balance()) > before, 'what is left came back')
  },
)

t.test('what goes over with live records is paid for ahead, twice in a row too', async (t) => {
  const alice = await user()
  const { contracts, call } = alice
  const { id } = await opened(alice)
  let [last, held] = [id, 0]
  for (let round = 0; round < 2; round++) {
    for (let count = 0; count < 8; count++) await written(alice, { maxPulls: 20 })
    const { reply } = await alice.ctx.connect(relay.address).call({ type: 'ContractState', contract: last })
    held = reply.result.reserved
    const next = await contracts.renew(relay.url, { ...call, topUp: 50_000 })
    t.match(next, { state: 'active', renews: last })
    last = next!.contract
    await market.devnet.node.mine(6)
    t.ok((await contracts.tend(call)).every(({ error }) => error === undefined))
  }
  t.ok(held > 1000, `${held} satoshi reserved`)
})

t.test('an agent makes the next contract before service ends, and records are kept on', async (t) => {
  const alice = await user()
  const { contracts, call } = alice
  const { id } = await opened(alice)
  await written(alice)
  const { path } = await write(alice, { ttlSeconds: 300 * day })
  const { serviceEnd } = await contracts.get(id)
  await market.passTime(28 * day + 7200)
  const [pass] = await contracts.tend(call)
  t.equal(pass!.error, undefined)
  t.match(await contracts.list(), [{ contract: id }, { state: 'active', renews: id }])

  await market.devnet.node.mine(6)
  const ask = alice.ctx.connect(relay.address)
  const [extended] = await eventually(
    async () => (await ask.call({ type: 'extensions' })).reply.result,
    ({ length }) => length > 0,
  )
  t.match(extended, { path, purse: id })
  await market.passTime(20 * day)
  t.ok(market.clock.now > serviceEnd * 1000)
  for (const { error, verdict } of await contracts.tend(call))
    t.match({ error, verdict }, { error: undefined, verdict: 'explained' })
  const [audit] = await auditRelays(alice.ctx, undefined, { prove: 1 })
  t.match(audit, { purses: [{ purse: id, verdict: 'explained' }, { verdict: 'explained' }], proofs: 1 })
  const { reply } = await ask.call({ type: 'account' })
  t.match(
    reply.result.purses,
    [{ purse: id, records: 1 }, {}],
    'it is kept and proven after the first contract is over',
  )

  // Only by what the relay has signed: without it, the same bill is one for what was never agreed on.
  const journal = join(alice.home, 'journal', `${relay.address.key}.jsonl`)
  const lines = readFileSync(journal, 'utf8').split('\n')
  writeFileSync(journal, lines.filter((line) => !line.startsWith('{"extended"')).join('\n'))
  const [without] = await auditRelays(alice.ctx, undefined, { prove: 0 })
  t.match(without, { purses: [{ verdict: 'forged', findings: [{ kind: 'wrong-storage' }] }, {}] })
})
