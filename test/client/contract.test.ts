/** Contracts of a client with a real relay on a devnet: opened, paid, closed, had back by time, to the satoshi. */
import t from 'tap'
import { post } from '../../client/mail/post.ts'
import { keysOf } from '../fixtures/wallet.ts'
import { type Client, eventually, type Market, openMarket, type TestRelay } from '../fixtures/contracting.ts'

t.setTimeout(120_000)

t.test('a contract is opened and closed unused: fees are all it costs', async (t) => {
  const market = await openMarket(t)
  const relay = await market.relay()
  const alice = await market.user('alice', { relays: [relay.address] })
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
const write = ({ ctx }: Client, { maxPulls = 1 } = {}) =>
  post(ctx, { to: bob, payload: { type: 'text', text: 'x'.repeat(60_000) }, maxPulls })

/** As soon as the relay has heard of the blocks that make it possible. */
const written = (alice: Client) =>
  eventually(
    () => write(alice).catch((error) => error),
    ({ state }) => state === 'delivered',
  )

/** Open, and deep enough to be used. */
async function opened(market: Market, relay: TestRelay, alice: Client, order: object = {}) {
  const view = await alice.contracts.open(relay.url, { ...alice.call, budget: 100_000, ...order })
  await market.devnet.node.mine(6)
  await alice.contracts.tend(alice.call)
  const peer = () =>
    alice.ctx.connect(relay.address).call({ type: 'ContractState', contract: view!.contract })
  await eventually(
    () => alice.ctx.connect(relay.address).call({ type: 'account', limit: 1 }),
    ({ reply }) => reply.result.purses.some(({ purse }) => purse === view!.contract),
  )
  return { id: view!.contract, state: async () => (await peer()).reply.result }
}

t.test('writes are paid for by themselves, settled by audit, and closed for what was used', async (t) => {
  const market = await openMarket(t)
  const relay = await market.relay()
  const alice = await market.user('alice', { relays: [relay.address] })
  const { contracts, call } = alice
  const { id, state } = await opened(market, relay, alice)

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

t.test('what may be spent is what the user said', async (t) => {
  const market = await openMarket(t)
  const relay = await market.relay()
  const alice = await market.user('alice', { relays: [relay.address] })
  const { id } = await opened(market, relay, alice, { maxSpend: 100 })

  await written(alice)
  const writes = []
  for (let count = 0; count < 3; count++) writes.push(await write(alice).catch((error) => error))
  const last = writes.at(-1)
  t.match(last.failures?.[0].error ?? last, { code: 'ERR_COST', message: /100 are allowed/ })
  t.ok((await alice.contracts.get(id)).paid! <= 100)
})

t.test('a relay that vanishes: everything comes back by time, and not before', async (t) => {
  const market = await openMarket(t)
  const relay = await market.relay()
  const alice = await market.user('alice', { relays: [relay.address] })
  const { contracts, call } = alice
  const before = await alice.balance()
  const { id } = await opened(market, relay, alice)
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
  const market = await openMarket(t)
  const relay = await market.relay()
  const alice = await market.user('alice', { relays: [relay.address] })
  const { id } = await opened(market, relay, alice)
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
    const market = await openMarket(t)
    const relay = await market.relay()
    const alice = await market.user('alice', { relays: [relay.address] })
    const { contracts, call } = alice
    const { id } = await opened(market, relay, alice)
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

t.test('an agent makes the next contract before service ends', async (t) => {
  const market = await openMarket(t)
  const relay = await market.relay()
  const alice = await market.user('alice', { relays: [relay.address] })
  const { contracts, call } = alice
  const { id } = await opened(market, relay, alice)
  await written(alice)
  await market.passTime(28 * day + 7200)
  const [pass] = await contracts.tend(call)
  t.equal(pass!.error, undefined)
  t.match(await contracts.list(), [{ contract: id }, { state: 'active', renews: id }])
})
