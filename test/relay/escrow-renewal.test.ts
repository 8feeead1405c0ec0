/** One contract goes over into the next: service goes on, and every satoshi is in one of the two. */
import t from 'tap'
import { serializeTransaction } from '../../contracts/transaction/transaction.ts'
import { p2pkh } from '../../contracts/transaction/script.ts'
import { signStakes } from '../../contracts/escrow/signatures.ts'
import { unsigned } from '../../contracts/escrow/transactions.ts'
import { walletSigner } from '../../contracts/escrow/keys.ts'
import { fromHex } from '../../market/bytes.ts'
import { escrowsOf } from '../../relay/store/contracts.ts'
import {
  type Deal,
  type Desk,
  type EscrowClient,
  type EscrowScene,
  furnish,
  openEscrowScene,
} from '../fixtures/escrow.ts'
import { mineInstead } from '../fixtures/till.ts'

t.setTimeout(120_000)

async function begin(scene: EscrowScene, desk: Desk): Promise<{ alice: EscrowClient; deal: Deal }> {
  await furnish(scene, desk)
  const alice = await scene.client('alice', [400_000, 400_000, 400_000])
  const deal = await alice.open(desk)
  await scene.devnet.node.mine(6)
  await desk.pass()
  await desk.contracts.pay(await alice.payment(deal, 800, 400), alice.key)
  await desk.write(alice.wallet, 400_000)
  return { alice, deal }
}

t.test('a renewal: records go on, what they come to later is owed under the next contract', async (t) => {
  const scene = await openEscrowScene(t)
  const desk = await scene.desk()
  const { alice, deal } = await begin(scene, desk)
  const before = (await desk.wallet.balance()).confirmed
  const { owed, reserved } = await desk.contracts.state(deal.id, alice.key)
  const { next, request } = await alice.rollover(deal, owed)
  const funded = await desk.contracts.renew(request, alice.key)
  t.same(await desk.contracts.renew(request, alice.key), funded, 'the same again is answered the same')
  t.match(funded, { type: 'ContractFunded', contract: next.id, at: Number })
  next.joint = { txid: funded.txid, vout: 0 }
  t.equal(escrowsOf(desk.store, alice.key).current, next.id)
  t.match(await desk.contracts.state(next.id, alice.key), { owed: 0, reserved, state: 'active' })
  t.ok(await desk.write(alice.wallet, 20), 'within what a young contract may')
  await scene.devnet.node.mine(6)
  await desk.pass()
  await desk.pass()
  t.match(desk.kept(deal.id), { state: { spend: { end: { kind: 'rollover' } } }, facts: { isBooked: true } })
  t.equal((await desk.wallet.balance()).confirmed - before, owed)
  t.match(desk.purse(alice.key, deal.id), { records: 1, returned: 300_000 - owed - reserved })
  t.match(desk.kept(next.id), { facts: { moved: reserved }, state: { state: 'active', depth: 6 } })
  t.same(await desk.differences(), [])

  scene.clock.now += 8 * 86_400_000
  await scene.devnet.node.mine(1)
  await desk.pass()
  const later = await desk.contracts.state(next.id, alice.key)
  t.ok(later.owed > 0, `owed later: ${later.owed}`)
  const paid = later.owed + later.reserved
  t.ok(await desk.contracts.end(await alice.refund(next, paid), alice.key))
  await scene.devnet.node.mine(6)
  await desk.pass()
  t.match(desk.kept(next.id), {
    facts: { isBooked: true },
    state: { spend: { end: { kind: 'settled', paid } } },
  })
  const [one, two] = [deal, next].map(({ id }) => desk.purse(alice.key, id)!)
  const kept = one!.received - one!.returned + two!.received - two!.returned
  t.equal(kept, owed + paid, 'what was paid is in the two purses')
  t.same(await desk.differences(), [])
  t.same(desk.warnings, [])
})

t.test('a renewal whose stake is spent elsewhere: the old contract goes on', async (t) => {
  const scene = await openEscrowScene(t)
  const desk = await scene.desk()
  const { alice, deal } = await begin(scene, desk)
  const { owed } = await desk.contracts.state(deal.id, alice.key)
  const { next, request } = await alice.rollover(deal, owed)
  await desk.contracts.renew(request, alice.key)
  const coin = next.own.stakes[0]!
  const bare = unsigned([coin], [{ satoshis: coin.satoshis - 100, script: p2pkh(fromHex(alice.key)) }])
  const side = { side: 'client' as const, signer: walletSigner(alice.wallet) }
  const back = await signStakes(next.contract, { transaction: bare, spent: [coin] }, [0, 1], side)
  await mineInstead(scene.devnet, serializeTransaction(back))
  await desk.pass()
  await t.rejects(desk.write(alice.wallet, 20), { code: 'ERR_PAYMENT_REQUIRED' })
  await scene.devnet.node.mine(6)
  await desk.pass()
  await desk.pass()
  t.match(desk.kept(next.id), { state: { state: 'failed' }, facts: { isBooked: true } })
  t.match(desk.kept(deal.id)?.state, { state: 'active', renewal: null })
  t.equal(escrowsOf(desk.store, alice.key).current, deal.id)
  t.ok(await desk.write(alice.wallet, 20))
  t.ok(await desk.contracts.end(await alice.refund(deal, owed + 100), alice.key))
  t.same(await desk.differences(), [])
})
