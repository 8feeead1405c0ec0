/** One pass over all contracts, as an agent makes it: paid by what was audited, ended as agreed, renewed, refunded. */
import {
  type CreditPolicy,
  creditLimit,
  defaultPolicy,
  isPaymentDue,
  paymentTimes,
} from '../../contracts/escrow/amounts.ts'
import { isLive } from '../../contracts/escrow/client-machine.ts'
import { isDeep } from '../../contracts/escrow/machine.ts'
import type { ContractsOffer } from '../../contracts/escrow/offer.ts'
import { readHalfSigned } from '../../contracts/escrow/signatures.ts'
import { fromHex, toHex } from '../../market/bytes.ts'
import { parseAddress } from '../../market/address.ts'
import { MarketError } from '../../market/errors.ts'
import type { Hash } from '../../market/units.ts'
import { ClientError, messageOf } from '../errors.ts'
import { eachLimited } from '../wire/retry.ts'
import { keptContract, type KeptContract, keptContracts, termsOf } from '../home/contracts.ts'
import { checkAllowed } from './allowed.ts'
import { hearEnd, jointOf } from './ending.ts'
import { follow, tell, withContract } from './engine.ts'
import { save } from './funding.ts'
import { renew } from './operations.ts'
import { dearerIn } from './plan.ts'
import { type Audited, isActive, payAudited } from './paying.ts'
import type { AnswerTo, Peer } from './peer.ts'
import { contractAt, momentAt, type Site, secondsNow } from './site.ts'
import type { Heard, Unasked } from './unasked.ts'

export const tendTimes = {
  /** So many margins before expiry the next contract is made: before the relay asks for the end, at four. */
  renewalMargins: 8,
  /** For all that is asked of one relay in a pass, milliseconds: several of its slowest answers. */
  budgetMs: 120_000,
  relaysAtOnce: 8,
} as const

export interface Tending {
  /** What an audit of its relay makes of a contract; undefined where the relay says nothing of it. */
  audit(kept: KeptContract, signal: AbortSignal): Promise<Audited | undefined>
  /** What its relay offers now; undefined where that is not known. */
  offer(kept: KeptContract, signal: AbortSignal): Promise<ContractsOffer | undefined>
  /** Lets contracts end. */
  readonly isEnding?: boolean | undefined
  readonly signal?: AbortSignal | undefined
  /** In the place of `tendTimes.budgetMs`. */
  readonly budgetMs?: number | undefined
}

export interface Tended {
  readonly id: Hash
  readonly before: KeptContract['state']['state']
  readonly kept: KeptContract
  readonly error?: Error
}

export const isOver = ({ state, taken }: KeptContract): boolean =>
  state.state === 'cancelled' || ('spend' in state && isDeep(state.spend.depth) && taken === state.spend.txid)

/** What fails stands with its contract, and stops no other; nor does a relay that is slow stop another. */
export async function tend(site: Site, tending: Tending): Promise<Tended[]> {
  const all = (await keptContracts(site.ctx.home)).filter((kept) => !isOver(kept))
  const done = new Map<Hash, Tended>()
  const servers = new Set(all.map((kept) => termsOf(kept).server))
  await eachLimited(servers, tendTimes.relaysAtOnce, async (server) => {
    const there = all.filter((kept) => termsOf(kept).server === server)
    for (const one of await tendRelay(site, there, tending)) done.set(one.id, one)
  })
  return all.map(({ id }) => done.get(id)!) // each has a relay
}

/** The contracts with one relay, one after another. */
async function tendRelay(site: Site, all: readonly KeptContract[], tending: Tending): Promise<Tended[]> {
  const budgetMs = tending.budgetMs ?? tendTimes.budgetMs
  const over = AbortSignal.timeout(budgetMs)
  const signal = tending.signal === undefined ? over : AbortSignal.any([tending.signal, over])
  const inTime = async <T>(work: Promise<T>): Promise<T> =>
    work.catch((error: unknown) => {
      if (!over.aborted || !isCutOff(error, signal)) throw error
      const sentence = `the relay took more than ${budgetMs / 1000} s: the next pass goes on`
      throw new ClientError('ERR_UNREACHABLE', sentence, error)
    })
  const peer = (kept: KeptContract): Peer => {
    const given = site.peer(kept, signal)
    return { ask: (request) => inTime(given.ask(request)), unasked: () => inTime(given.unasked()) }
  }
  const talk: Talk = { tending, signal, unheard: new Set() }
  const tended: Tended[] = []
  for (const { id, state } of all) {
    const done = await inTime(tendOne({ ...site, peer }, id, talk)).then(
      () => ({}),
      (error: unknown) => ({ error: error as Error }),
    )
    const kept = await keptContract(site.ctx.home, id)
    tended.push({ id, before: state.state, kept: kept!, ...done }) // no file is ever removed
  }
  if (talk.unheard.size === 0) await talk.said?.settle()
  return tended
}

/** What waits says so in its own words. */
const isCutOff = (error: unknown, { reason }: AbortSignal): boolean =>
  error === reason || (error instanceof Error && error.name === 'AbortError')

/** With one relay, in one pass. */
interface Talk {
  readonly tending: Tending
  /** Its time is over. */
  readonly signal: AbortSignal
  said?: Heard
  /** Contracts that what it said was not brought to. */
  readonly unheard: Set<Hash>
}

async function tendOne(site: Site, id: Hash, talk: Talk): Promise<void> {
  const kept = await withContract(site, id, (given) => follow(site, given))
  if (!isLive(kept.state) || kept.relay === null) return
  const { tending, signal, unheard } = talk
  unheard.add(id)
  talk.said ??= await site.peer(kept).unasked()
  const messages = talk.said.messages.filter(({ contract }) => contract === id)
  const told = await site.peer(kept).ask({ type: 'ContractState', contract: id })
  // Not under the lock: an audit brings up what waits, and that may be paid for.
  const isAsked = messages.some(
    ({ type }) => type === 'ContractRequestPayment' || type === 'ContractPaymentDue',
  )
  // One that opens no contracts any more has lent what relays lend.
  const { credit = defaultPolicy } = (await tending.offer(kept, signal).catch(() => undefined)) ?? {}
  const audited =
    isAsked || isDue(site, kept, { told, credit }) ? await tending.audit(kept, signal) : undefined
  const now = await withContract(site, id, async (given) => {
    let next = given
    for (const message of messages) next = await hear(site, next, { message, audited })
    return audited === undefined ? heardOf(site, next, told) : settleUp(site, next, { audited, told })
  })
  unheard.delete(id)
  if (isActive(now) && now.state.renewal === null && isRenewalDue(site, now)) await goOn(site, now, talk)
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
  const sig = await endIn(site, kept, message)
  if (sig === undefined) return kept
  if (paid <= sureOf(kept, audited)) checkAllowed(site, kept, paid)
  const at = await momentAt(site)
  const event = { on: 'request-payment', paid, sig, audited: sureOf(kept, audited), at } as const
  return follow(site, await tell(site, kept, event))
}

/** The relay's signature under the end that it asks for. One that does not fit is told, and hinders nothing else. */
async function endIn(
  site: Site,
  kept: KeptContract,
  { paid, tx }: Extract<Unasked, { type: 'ContractRequestPayment' }>,
): Promise<string | undefined> {
  const contract = await contractAt(site, termsOf(kept))
  const half = { side: 'server', bytes: fromHex(tx) } as const
  try {
    return toHex(readHalfSigned(contract, jointOf(kept), { kind: 'settled', paid }, half))
  } catch (cause) {
    if (!(cause instanceof MarketError)) throw cause
    const sentence = `it asks for an end of the contract ${kept.id} that is none: ${messageOf(cause)}`
    const error = new ClientError('ERR_UNTRUSTED', sentence, cause)
    site.ctx.notify({ type: 'relay-failed', relay: relayOf(kept), error })
    return undefined
  }
}

const relayOf = ({ relay, ...kept }: KeptContract): string =>
  relay === null ? termsOf(kept).server : parseAddress(relay).url

/** What is settled of an audit: of one that found something forged, nothing more. */
function sureOf({ state }: KeptContract, audited: Audited | undefined): number {
  const known = 'audited' in state ? state.audited : 0
  return audited === undefined || audited.verdict === 'forged' ? known : Math.max(known, audited.audited)
}

type Told = AnswerTo<'ContractState'>

/** What the relay says without an audit is kept as that. */
async function heardOf(site: Site, kept: KeptContract, { owed, reserved }: Told): Promise<KeptContract> {
  const { heard } = kept
  if (heard?.owed === owed && heard.reserved === reserved) return kept
  const before = heard ?? { at: 0, unproven: 0, verdict: 'explained' as const }
  return save(site, { ...kept, heard: { ...before, owed, reserved } })
}

/** Whether it is time for an audit and what follows from it; also where the relay lost what was signed. */
function isDue(
  site: Site,
  { state, heard, ...kept }: KeptContract,
  { told: { owed, ...told }, credit: policy }: { told: Told; credit: CreditPolicy },
): boolean {
  if (state.state === 'disputed') return true
  if (state.state !== 'active') return false
  const { paid, settled } = state
  const seconds = heard === null ? Number.POSITIVE_INFINITY : (site.ctx.now() - heard.at) / 1000
  const credit = creditLimit(termsOf({ state }), policy, settled)
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
async function goOn(site: Site, kept: KeptContract, { tending, signal }: Talk): Promise<void> {
  const offer = tending.isEnding ? undefined : await tending.offer(kept, signal)
  if (offer === undefined || !offer.isOpen) return
  const dearer = dearerIn(offer, termsOf(kept))
  if (dearer !== undefined)
    throw new ClientError(
      'ERR_COST',
      `not renewed, for this relay asks for more than you agreed to, ${dearer}: relay contract renew ` +
        `${kept.id.slice(0, 16)} shows all of it and asks you; or close it before service ends`,
    )
  const audited = sureOf(kept, await tending.audit(kept, signal))
  if (kept.maxSpend !== null && kept.maxSpend <= audited) return
  await renew(site, kept.id, { offer, audited, agree: async () => true })
}
