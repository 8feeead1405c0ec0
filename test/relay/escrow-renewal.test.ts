/** One contract goes over into the next: service goes on, and every satoshi is in one of the two. */
import t from 'tap'
import { serializeTransaction } from '../../contracts/transaction/transaction.ts'
import { p2pkh } from '../../contracts/transaction/script.ts'
import { defaultPolicy, leastRollover } from '../../contracts/escrow/amounts.ts'
import { signStakes } from '../../contracts/escrow/signatures.ts'
import { unsigned } from '../../contracts/escrow/transactions.ts'
import { walletSigner } from '../../contracts/escrow/keys.ts'
import { fromHex } from '../../market/bytes.ts'
import { serviceEnd } from '../../contracts/escrow/terms.ts'
import { parsePath } from '../../market/record.ts'
import { extensionPage } from '../../relay/ledger/extensions.ts'
import { escrowsOf } from '../../relay/store/contracts.ts'
import { findPurse } from '../../relay/store/ledger.ts'
import { available } from '../../relay/store/purses.ts'
import { headKey } from '../../relay/store/keys.ts'
import { decodeHead } from '../../relay/store/rows.ts'
import {
  type Deal,
  type Desk,
  type EscrowClient,
  type EscrowScene,
  furnish,
  openEscrowScene,
} from '../fixtures/escrow.ts'
import { crash, mineInstead } from '../fixtures/till.ts'

t.setTimeout(120_000)

/** What stays in the purse of a renewed contract for proofs of its records. */
const forProofs = 40

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
  t.match(desk.purse(alice.key, deal.id), { records: 1, returned: 300_000 - owed - reserved - forProofs })
  t.match(desk.kept(next.id), {
    facts: { moved: reserved + forProofs },
    state: { state: 'active', depth: 6 },
  })
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

/** Until when the records of a purse are paid for, by their heads. */
const paidUntils = (desk: Desk, paths: readonly string[]): number[] =>
  paths.map((path) => {
    const { owner, recordId } = parsePath(path)
    const row = desk.store.get(headKey({ owner, recordId }))
    const head = row && decodeHead(row)
    return head?.state === 'stored' ? head.paidUntil : 0
  })

const kept = (desk: Desk, owner: string, ids: readonly string[]): number =>
  ids.reduce((sum, id) => sum + desk.purse(owner, id)!.received - desk.purse(owner, id)!.returned, 0)

t.test('renewals pay for live records longer, as far as new ones would be taken', async (t) => {
  const scene = await openEscrowScene(t)
  const desk = await scene.desk()
  const { alice, deal } = await begin(scene, desk)
  await desk.contracts.pay(await alice.payment(deal, 20_000, 400), alice.key)
  const long = await desk.write(alice.wallet, 1_000_000, { days: 200 })
  const large = await desk.write(alice.wallet, 3_000_000, { days: 200 })
  const small = await desk.write(alice.wallet, 1000, { days: 40 })
  const paths = [long, large, small]
  const end = serviceEnd(deal.contract.terms) * 1000
  t.same(paidUntils(desk, paths), [end, end, end])
  const start = scene.clock.now

  let [old, paidSoFar] = [deal, 0]
  const ids = [deal.id]
  for (const name of ['the next contract', 'the one after it']) {
    await scene.passTime(25 * 86_400)
    await desk.pass()
    const books = await desk.contracts.state(old.id, alice.key)
    const paid = Math.max(books.owed, leastRollover(old.contract.terms, defaultPolicy, books))
    const expiry = Math.floor(scene.clock.now / 1000) + 118 * 86_400
    const { next, request } = await alice.rollover(old, paid, { expiry })
    next.joint = { txid: (await desk.contracts.renew(request, alice.key)).txid, vout: 0 }
    await desk.contracts.pay(await alice.payment(next, 600, 0), alice.key)
    await scene.devnet.node.mine(6)
    await desk.pass()
    await desk.pass()
    const until = serviceEnd(next.contract.terms) * 1000
    const short = start + 40 * 86_400_000
    const isOver = scene.clock.now > short + 7 * 86_400_000
    t.same(paidUntils(desk, paths), isOver ? [until, 0, 0] : [until, end, short], name)
    ids.push(next.id)
    paidSoFar += paid
    old = next
    t.equal(kept(desk, alice.key, ids), paidSoFar + 310_000, 'what was paid, and the last budget')
    const later = await desk.contracts.state(next.id, alice.key)
    const { moved } = desk.kept(next.id)!.facts
    t.equal(moved, later.owed + later.reserved + forProofs, 'all of it came with the records')
    t.equal(available(findPurse(desk.store, alice.key, deal.id)!), forProofs)
    t.same(await desk.differences(), [])
  }
  const page = (limit: number) => extensionPage(desk.store, { owner: alice.key, after: 0, limit })
  t.match((await page(10)).result, [{ path: long, purse: deal.id }, { path: small }, { path: long }])
  t.match(await page(1), { more: true, result: { length: 1 } })

  // An end that pays for nothing more ends them all, of whatever contract they are.
  const { owed } = await desk.contracts.state(old.id, alice.key)
  await desk.contracts.end(await alice.refund(old, owed), alice.key)
  await scene.devnet.node.mine(6)
  await desk.pass()
  t.same(paidUntils(desk, [long]), [0])
  t.equal(kept(desk, alice.key, ids), paidSoFar + owed, 'every satoshi that was paid, and no more')
  t.same(await desk.differences(), [])
  t.same(desk.warnings, [])
})

t.test('a relay that ends between two pages of records goes on with the next', async (t) => {
  const scene = await openEscrowScene(t)
  const paths: string[] = []
  let until: number | undefined
  let hasEnded = false
  const desk = await scene.desk({
    step() {
      if (hasEnded || until === undefined || paidUntils(desk, paths)[0] !== until) return
      hasEnded = true
      crash(scene, 'relay', 'again')
    },
  })
  const { alice, deal } = await begin(scene, desk)
  for (let left = 70; left > 0; left--) paths.push(await desk.write(alice.wallet, 10, { days: 100 }))
  const { owed, reserved } = await desk.contracts.state(deal.id, alice.key)
  const { next, request } = await alice.rollover(deal, owed, { expiry: deal.contract.terms.expiry + 86_400 })
  await desk.contracts.renew(request, alice.key)
  await scene.devnet.node.mine(6)
  until = serviceEnd(next.contract.terms) * 1000
  const isExtended = (paidUntil: number) => paidUntil === until
  await desk.pass()
  await desk.pass()
  t.ok(desk.kept(deal.id)!.facts.isBooked)
  const again = await scene.desk({ folder: 'again' })
  t.equal(again.kept(deal.id)!.facts.isBooked, false)
  const first = paidUntils(again, paths).filter(isExtended).length
  t.equal(first, 63, 'the first page: with them was a record that ends before')
  t.same(await again.differences(), [])
  await again.pass()
  for (const one of [desk, again]) {
    t.ok(paidUntils(one, paths).every(isExtended))
    t.ok(one.kept(next.id)!.facts.moved >= reserved)
    t.equal(kept(one, alice.key, [deal.id, next.id]), owed + 310_000)
    t.same(await one.differences(), [])
  }
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
