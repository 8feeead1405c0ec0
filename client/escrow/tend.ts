/** One pass over all contracts, as an agent makes it: paid by what was audited, ended as agreed, renewed, refunded. */
import { creditLimit, defaultPolicy, isPaymentDue, paymentTimes } from '../../contracts/escrow/amounts.ts'
import { isLive } from '../../contracts/escrow/client-machine.ts'
import { isDeep } from '../../contracts/escrow/machine.ts'
import type { ContractsOffer } from '../../contracts/escrow/offer.ts'
import { readHalfSigned } from '../../contracts/escrow/signatures.ts'
import { fromHex, toHex } from '../../market/bytes.ts'
import { parseAddress } from '../../market/address.ts'
import type { Hash } from '../../market/units.ts'
import { ClientError } from '../errors.ts'
import { keptContract, type KeptContract, keptContracts, termsOf } from '../home/contracts.ts'
import { checkAllowed } from './allowed.ts'
import { hearEnd, jointOf } from './ending.ts'
import { follow, tell, withContract } from './engine.ts'
import { renew } from './operations.ts'
import { isNoDearer } from './plan.ts'
import { type Audited, isActive, payAudited } from './paying.ts'
import type { AnswerTo } from './peer.ts'
import { contractAt, momentAt, type Site, secondsNow } from './site.ts'
import type { Heard, Unasked } from './unasked.ts'

export const tendTimes = {
  /** So many margins before expiry the next contract is made: before the relay asks for the end, at four. */
  renewalMargins: 8,
} as const

export interface Tending {
  /** What an audit of its relay makes of a contract; undefined where the relay says nothing of it. */
  audit(kept: KeptContract): Promise<Audited | undefined>
  /** What its relay offers now; undefined to renew nothing there. */
  offer(kept: KeptContract): Promise<ContractsOffer | undefined>
}

export interface Tended {
  readonly id: Hash
  readonly before: KeptContract['state']['state']
  readonly kept: KeptContract
  readonly error?: Error
}

export const isOver = ({ state, taken }: KeptContract): boolean =>
  state.state === 'cancelled' || ('spend' in state && isDeep(state.spend.depth) && taken === state.spend.txid)

/** What fails stands with its contract, and stops no other. */
export async function tend(site: Site, tending: Tending): Promise<Tended[]> {
  const all = (await keptContracts(site.ctx.home)).filter((kept) => !isOver(kept))
  const heard = new Map<string, Heard>()
  const unheard = new Set<Hash>()
  const tended: Tended[] = []
  for (const { id, state } of all) {
    const done = await tendOne(site, id, { tending, heard, unheard }).then(
      () => ({}),
      (error: unknown) => ({ error: error as Error }),
    )
    const kept = await keptContract(site.ctx.home, id)
    tended.push({ id, before: state.state, kept: kept!, ...done }) // no file is ever removed
  }
  const waiting = tended.filter(({ id }) => unheard.has(id)).map(({ kept }) => termsOf(kept).server)
  for (const [server, { settle }] of heard) if (!waiting.includes(server)) await settle()
  return tended
}

async function tendOne(
  site: Site,
  id: Hash,
  { tending, heard, unheard }: { tending: Tending; heard: Map<string, Heard>; unheard: Set<Hash> },
): Promise<void> {
  const kept = await withContract(site, id, (given) => follow(site, given))
  if (!isLive(kept.state) || kept.relay === null) return
  const { server } = termsOf(kept)
  unheard.add(id)
  const said = heard.get(server) ?? (await site.peer(kept).unasked())
  heard.set(server, said)
  const messages = said.messages.filter(({ contract }) => contract === id)
  const told = await site.peer(kept).ask({ type: 'ContractState', contract: id })
  // Not under the lock: an audit brings up what waits, and that may be paid for.
  const isAsked = messages.some(
    ({ type }) => type === 'ContractRequestPayment' || type === 'ContractPaymentDue',
  )
  const audited = isAsked || isDue(site, kept, told) ? await tending.audit(kept) : undefined
  const now = await withContract(site, id, async (given) => {
    let next = given
    for (const message of messages) next = await hear(site, next, { message, audited })
    return audited === undefined ? next : settleUp(site, next, { audited, told })
  })
  unheard.delete(id)
  if (isActive(now) && now.state.renewal === null && isRenewalDue(site, now)) await goOn(site, now, tending)
}

async function hear(
  site: Site,
  kept: KeptContract,
  { message, audited }: { message: Unasked; audited: Audited | undefined },
): Promise<KeptContract> {
  if (message.type === 'ContractClosed') return follow(site, (await hearEnd(site, kept, message.txid)).kept)
  if (message.type === 'ContractEnding') {
    const { serviceEnd } = message
    site.ctx.notify({ type: 'contract-ending', relay: relayOf(kept), contract: kept.id, serviceEnd })
  }
  if (message.type !== 'ContractRequestPayment' || !isLive(kept.state)) return kept
  const { paid } = message
  if (paid <= sureOf(kept, audited)) checkAllowed(site, kept, paid)
  const contract = await contractAt(site, termsOf(kept))
  const half = { side: 'server', bytes: fromHex(message.tx) } as const
  const sig = toHex(readHalfSigned(contract, jointOf(kept), { kind: 'settled', paid }, half))
  const at = await momentAt(site)
  const event = { on: 'request-payment', paid, sig, audited: sureOf(kept, audited), at } as const
  return follow(site, await tell(site, kept, event))
}

const relayOf = ({ relay, ...kept }: KeptContract): string =>
  relay === null ? termsOf(kept).server : parseAddress(relay).url

/** What is settled of an audit: of one that found something forged, nothing more. */
function sureOf({ state }: KeptContract, audited: Audited | undefined): number {
  const known = 'audited' in state ? state.audited : 0
  return audited === undefined || audited.verdict === 'forged' ? known : Math.max(known, audited.audited)
}

type Told = AnswerTo<'ContractState'>

/** Whether it is time for an audit and what follows from it; also where the relay lost what was signed. */
function isDue(site: Site, { state, heard, ...kept }: KeptContract, { owed, ...told }: Told): boolean {
  if (state.state === 'disputed') return true
  if (state.state !== 'active') return false
  const { paid, settled } = state
  const seconds = heard === null ? Number.POSITIVE_INFINITY : (site.ctx.now() - heard.at) / 1000
  const credit = creditLimit(termsOf({ state }), defaultPolicy, settled)
  const isLate = owed > settled && seconds >= paymentTimes.mostSeconds
  return isLost({ state, ...kept }, told) || isLate || isPaymentDue(owed, paid, credit, seconds)
}

const isLost = ({ state }: Pick<KeptContract, 'state'>, told: Pick<Told, 'paid' | 'settled'>): boolean =>
  state.state === 'active' && (told.paid < state.paid || told.settled < state.settled)

/** Pays what an audit says; what the relay lost of our signatures comes again. */
async function settleUp(
  site: Site,
  kept: KeptContract,
  { audited, told }: { audited: Audited; told: Told },
): Promise<KeptContract> {
  if (!isActive(kept) && kept.state.state !== 'disputed') return kept
  const amounts = { ...audited, reserved: told.reserved }
  const now = await payAudited(site, kept, amounts, { isWanted: isLost(kept, told) })
  return isActive(now) ? now : follow(site, now)
}

function isRenewalDue(site: Site, kept: KeptContract): boolean {
  const { expiry, closeMargin } = termsOf(kept)
  return secondsNow(site) >= expiry - tendTimes.renewalMargins * closeMargin
}

/** Only where the next contract has something to spend. */
async function goOn(site: Site, kept: KeptContract, tending: Tending): Promise<void> {
  const offer = await tending.offer(kept)
  if (offer === undefined || !offer.isOpen) return
  if (!isNoDearer(offer, termsOf(kept)))
    throw new ClientError(
      'ERR_COST',
      'this relay is dearer now: renew the contract yourself, or close it before it ends',
    )
  const audited = sureOf(kept, await tending.audit(kept))
  if (kept.maxSpend !== null && kept.maxSpend <= audited) return
  await renew(site, kept.id, { offer, audited, agree: async () => true })
}
