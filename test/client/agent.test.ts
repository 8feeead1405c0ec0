/** What an agent makes of what relays say first, and of its own limits. */
import t from 'tap'
import { open } from '../../client/escrow/operations.ts'
import type { Audited } from '../../client/escrow/paying.ts'
import type { Peer } from '../../client/escrow/peer.ts'
import type { Site } from '../../client/escrow/site.ts'
import { tend } from '../../client/escrow/tend.ts'
import type { Unasked } from '../../client/escrow/unasked.ts'
import { MarketError } from '../../market/errors.ts'
import { openMarket } from '../fixtures/contracting.ts'
import { scriptRelay, siteOf } from '../fixtures/contract-relay.ts'

t.setTimeout(120_000)

const market = await openMarket(t)
const scripted = scriptRelay(market)
const alice = await market.user('alice')
const { site, relay } = siteOf(t, alice, market, scripted)
const wish = { client: alice.ctx.wallet.identity, budget: 100_000, termSeconds: 30 * 86_400 }
const { id } = (await open(site, { relay, offer: scripted.offer, wish, agree: async () => true }))!
await market.devnet.node.mine(6)

const explained: Audited = { audited: 0, unproven: 0, owed: 0, verdict: 'explained' }

/** A relay that has said so much, and what became of it. */
function hearing(messages: readonly Unasked[], at: Site = site) {
  const heard = { times: 0 }
  const settle = async () => void heard.times++
  const peer = (): Peer => ({ ...scripted.peer, unasked: async () => ({ messages, settle }) })
  return { heard, site: { ...at, peer } }
}

t.test('the end of service is told to the user, and what is due is paid for what was audited', async (t) => {
  const serviceEnd = market.clock.now + 86_400_000
  const { heard, site } = hearing([
    { type: 'ContractEnding', contract: id, serviceEnd },
    { type: 'ContractPaymentDue', contract: id, owed: 70 },
    { type: 'ContractPaymentDue', contract: 'ff'.repeat(32), owed: 50_000 },
  ])
  const [pass] = await tend(site, {
    audit: async () => ({ ...explained, audited: 60 }),
    offer: async () => undefined,
  })
  t.equal(pass!.error, undefined)
  t.match(alice.notices, [{ type: 'contract-ending', contract: id, serviceEnd, relay: /relay.test/ }])
  t.match(scripted.deals.get(id), { settled: 60 })
  t.equal(heard.times, 1)
})

t.test('what could not be dealt with comes again; what was, does not, whatever fails after it', async (t) => {
  const due: Unasked = { type: 'ContractPaymentDue', contract: id, owed: 200 }
  const failing = async () => {
    throw new MarketError('ERR_BUSY', 'no audit')
  }
  const first = hearing([due])
  const [failed] = await tend(first.site, { audit: failing, offer: async () => undefined })
  t.match(failed!.error, { code: 'ERR_BUSY' })
  t.equal(first.heard.times, 0)

  await market.passTime(28 * 86_400 + 7200)
  const second = hearing([due])
  const offer = async () => ({ ...scripted.offer, feeRate: 101 })
  const [dearer] = await tend(second.site, { audit: async () => ({ ...explained, audited: 150 }), offer })
  t.match(dearer!.error, { code: 'ERR_COST', message: /more than you agreed to, feeRate 101 instead of 100/ })
  t.match(scripted.deals.get(id), { settled: 150 })
  t.equal(second.heard.times, 1)
})

t.test('nothing is settled, renewed or ended beyond what a run is allowed', async (t) => {
  const limited: Site = { ...site, ctx: { ...site.ctx, maxSpend: 300 } }
  const tending = {
    audit: async () => ({ ...explained, audited: 400, owed: 400 }),
    offer: async () => scripted.offer,
  }
  scripted.script.owed = 400
  const { site: at } = hearing([{ type: 'ContractPaymentDue', contract: id, owed: 400 }], limited)
  const [pass] = await tend(at, tending)
  t.match(pass!.error, {
    code: 'ERR_COST',
    message: /400 satoshi .* and 300 are allowed.*a higher --max-spend/,
  })
  t.match(scripted.deals.get(id), { settled: 150 })
  t.notOk(scripted.asked.includes('ContractRollover'))
  await scripted.request(id, 390)
  const { site: ending } = hearing(scripted.script.said.splice(0), limited)
  t.match((await tend(ending, tending))[0], {
    error: { code: 'ERR_COST' },
    kept: { state: { state: 'active' } },
  })

  const { site: free } = hearing([])
  t.equal((await tend(free, tending))[0]!.error, undefined)
  t.ok(scripted.asked.includes('ContractRollover'))
})
