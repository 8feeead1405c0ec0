/** Stakes of a relay: made of coins that nobody may ask back, and given up before a customer has to wait. */
import t, { type Test } from 'tap'
import { sha256Hex } from '../../market/hash.ts'
import { readConfig } from '../../relay/config.ts'
import { owedToCustomers } from '../../relay/escrow/backing.ts'
import { Policy } from '../../relay/escrow/policy-options.ts'
import { putDraining } from '../../relay/store/contracts.ts'
import { Till } from '../../relay/till/till.ts'
import { type Desk, type EscrowScene, openEscrowScene } from '../fixtures/escrow.ts'
import { payWith } from '../fixtures/till.ts'

t.setTimeout(60_000)

/** The till of the same coins. */
async function openTill(
  t: Pick<Test, 'teardown'>,
  { relay: keys, clock }: EscrowScene,
  { store, wallet }: Desk,
) {
  const log = { warn() {} }
  const options = { keys, now: () => clock.now, zeroConfLimit: 10_000, admit() {}, log }
  const till = await Till.open({ store, wallet: () => wallet, ...options })
  t.teardown(() => till.idle())
  return till
}

t.test('what customers may ask back is no stake, and is paid back before any is kept', async (t) => {
  const scene = await openEscrowScene(t)
  const desk = await scene.desk({ policy: { poolSize: 4 } })
  const till = await openTill(t, scene, desk)
  const bob = await scene.open('bob')
  await scene.fund(bob, [60_000, 20_000])
  const pay = async (satoshis: number) => {
    const payment = await payWith(bob, { satoshis, till, to: scene.relay.identity })
    await till.take(bob.identity, payment, { price: 1, what: 'deposit' })
  }
  await pay(40_000)
  await desk.pass()
  t.match(await owedToCustomers(desk.store), { satoshis: 40_000 }, 'credited or not')
  t.match(desk.contracts.offer, { isOpen: true, isReady: false })
  t.match(desk.contracts.tally.stakes, { wanted: 4, free: 0, lack: /fund the wallet: .* beyond the 40000/ })
  t.match(desk.warnings, [/fund the wallet/])
  const alice = await scene.client('alice', [400_000, 400_000])
  const deal = await alice.deal()
  const unfunded = { code: 'ERR_BUSY', extras: { refusal: 'no-stake', isUnfunded: true } }
  await t.rejects(desk.contracts.open(deal.open, alice.caller), unfunded)

  await scene.fund(desk.wallet, [11_000])
  await desk.pass()
  await till.follow()
  t.match(desk.contracts.tally.stakes, { free: 2, lack: null }, 'a few are better than none')
  t.equal(desk.contracts.offer?.isReady, true)
  t.equal(desk.warnings.length, 1)
  t.match(await till.withdraw({ owner: bob.identity, id: sha256Hex('a'), satoshis: 39_000 }), {
    satoshis: 39_000,
  })
  t.equal(desk.contracts.tally.stakes.free, 2)

  await pay(12_000)
  await scene.devnet.node.mine(1)
  await desk.pass()
  await till.follow()
  // What no rule keeps an operator from.
  await desk.wallet.payTo({ address: await bob.receiveAddress(), satoshis: 11_500 })
  await scene.devnet.node.mine(1)
  await desk.pass()
  const inputs = await desk.contracts.open(deal.open, alice.caller)
  const order = { owner: bob.identity, id: sha256Hex('b'), satoshis: 5500 }
  t.match(await till.withdraw(order), { satoshis: 5500 }, 'of a stake that no contract has')
  t.match(await till.withdraw(order), { satoshis: 5500 })
  await t.rejects(
    till.withdraw({ ...order, id: sha256Hex('c') }),
    { code: 'ERR_BUSY' },
    'it says that it waits',
  )
  const { draft: _, ...signed } = await alice.signed(deal, inputs)
  t.ok(await desk.contracts.sign(signed, alice.caller), 'what is reserved stays with its opening')
  await scene.devnet.node.mine(1)
  await desk.pass()
  t.match(desk.contracts.tally.stakes, { free: 0, used: 1 })
  t.same(await desk.differences(), [])
})

t.test('drained, stakes are ordinary coins; and by default there are a few', async (t) => {
  const scene = await openEscrowScene(t)
  const desk = await scene.desk({ policy: { poolSize: 3 } })
  await scene.fund(desk.wallet, [100_000])
  await desk.pass()
  const { satoshis } = await all(desk)
  t.match(desk.contracts.tally.stakes, { free: 3 })
  t.ok(satoshis < 100_000 - 15_000)
  await desk.store.commit((batch) => putDraining(batch, true))
  await desk.pass()
  t.match(desk.contracts.tally.stakes, { wanted: 0, free: 0, lack: null })
  t.ok((await all(desk)).satoshis > 99_900, 'nothing but the fee of making them is gone')
  await desk.store.commit((batch) => putDraining(batch, false))
  await desk.pass()
  t.match(desk.contracts.tally.stakes, { free: 3 })
  t.match(Policy.parse({}), { poolSize: 8, openingsPerAddress: 3 })
  const config = (...args: string[]) => readConfig(['--data', 'folder', ...args], {}).contracts.poolSize
  t.equal(config(), 8)
  t.equal(config('--contract', 'poolSize=0'), 0)
})

async function all({ wallet }: Desk): Promise<{ satoshis: number }> {
  const { confirmed, unconfirmed, reserved } = await wallet.balance()
  return { satoshis: confirmed + unconfirmed + reserved }
}
