/** Into a contract, and out of one that is still on its way. */
import type { RelayAddress } from '../../market/address.ts'
import { formatAddress } from '../../market/address.ts'
import { isLive } from '../../contracts/escrow/client-machine.ts'
import type { ContractsOffer } from '../../contracts/escrow/offer.ts'
import { canExpire, type Terms } from '../../contracts/escrow/terms.ts'
import { stakeDue } from '../../contracts/escrow/transactions.ts'
import { MarketError } from '../../market/errors.ts'
import { ClientError, isRetryable, messageOf, Refused, retold } from '../errors.ts'
import { keptContract, type KeptContract, keptContracts, newContract, termsOf } from '../home/contracts.ts'
import { follow, lockOf, tell } from './engine.ts'
import { type Plan, planOf, termsFor, type Wish } from './plan.ts'
import { contractAt, momentAt, secondsNow, type Site } from './site.ts'

export interface Agreeing {
  /** Nothing is paid unless it says yes. */
  readonly agree: (plan: Plan) => Promise<boolean>
}

export interface Opening extends Agreeing {
  readonly relay: RelayAddress
  readonly offer: ContractsOffer
  readonly wish: Omit<Wish, 'server'>
  readonly maxSpend?: number | undefined
}

/**
 * Opens a contract, or goes on with the opening of one, as it was agreed to then. Undefined where the user did not agree: nothing
 * was paid then.
 * @throws ERR_CONFLICT while another is open there, or on its way with other numbers; refusals; what the relay says: the stake
 * comes back then, or the error says until when it is set aside
 */
export async function open(site: Site, opening: Opening): Promise<KeptContract | undefined> {
  const { relay, offer, wish, maxSpend = null, agree } = opening
  const terms = termsFor({ ...wish, server: relay.key }, offer, secondsNow(site))
  const begin = async () => {
    const begun = await openAt(site, relay)
    if (begun?.state.state === 'signed') return goOn(site, begun)
    const isLate = begun !== undefined && secondsNow(site) > termsOf(begun).openBy
    if (begun !== undefined && !isLate) {
      checkSame(begun, terms)
      return (await agree(await planAt(site, termsOf(begun), offer))) ? goOn(site, begun) : undefined
    }
    if (begun !== undefined) await takeBack(site, begun)
    const chain = await site.chain()
    if (chain.network !== terms.network)
      throw new ClientError(
        'ERR_USAGE',
        `${relay.url} is on ${terms.network}, and these coins are on ${chain.network}`,
      )
    if (!(await agree(await planAt(site, terms, offer)))) return undefined
    const { height, hash } = await chain.tip()
    const fresh = {
      ...newContract(terms, { relay: formatAddress(relay), state: { state: 'idle' } }),
      maxSpend,
    }
    const at = await momentAt(site)
    return goOn(site, { ...fresh, from: { height, hash } }, () => ({ on: 'open', terms, at }) as const)
  }
  return site.ctx.home.lock(lockOf(relay.key), begin)
}

async function planAt(site: Site, terms: Terms, { isReady }: ContractsOffer): Promise<Plan> {
  const contract = await contractAt(site, terms)
  const feeRate = await (await site.chain()).feeRate()
  return planOf(contract, { stake: stakeDue(contract, 'client', 1), feeRate, isReady })
}

/** The one that is on its way. @throws ERR_CONFLICT for one that is open */
async function openAt({ ctx }: Site, { key, url }: RelayAddress): Promise<KeptContract | undefined> {
  const all = (await keptContracts(ctx.home)).filter((kept) => termsOf(kept).server === key)
  const live = all.find(({ state }) => isLive(state))
  if (live !== undefined)
    throw new MarketError(
      'ERR_CONFLICT',
      `the contract ${live.id} with ${url} is open: renew it, or top it up`,
    )
  // A renewal opens out of another one, or not at all.
  return all.find(({ state, renews }) => renews === null && (isUnsigned(state) || state.state === 'signed'))
}

/** What was agreed to is carried out, and nothing else under its name. @throws ERR_CONFLICT */
function checkSame(begun: KeptContract, wanted: Terms): void {
  const old = termsOf(begun)
  const lasts = ({ expiry, created }: Terms) => expiry - created
  const isSame =
    old.budget === wanted.budget && lasts(old) === lasts(wanted) && canExpire(old) === canExpire(wanted)
  if (isSame) return
  throw new MarketError(
    'ERR_CONFLICT',
    `the contract ${begun.id.slice(0, 16)} is on its way there with a budget of ${old.budget} satoshi for ` +
      `${Math.round(lasts(old) / 86_400)} days: go on with that, or take its stake back with relay contract close ${begun.id.slice(0, 16)}`,
  )
}

/** To where the relay has signed; what it refuses for good is undone. */
async function goOn(
  site: Site,
  kept: KeptContract,
  event?: () => Parameters<typeof tell>[2],
): Promise<KeptContract> {
  try {
    const at = await momentAt(site)
    const told = await tell(site, kept, event?.() ?? { on: 'tick', at })
    return await follow(site, told)
  } catch (error) {
    const now = await keptContract(site.ctx.home, kept.id)
    if (now === undefined || !isUnsigned(now.state)) throw error
    const isFinal = error instanceof Refused && error.signed && !isRetryable(error)
    if (!isFinal && now.stake !== null) throw isRetryable(error) ? pending(error, now) : error
    await takeBack(site, now)
    throw error
  }
}

/** The same error, saying where the money is. */
function pending(error: unknown, kept: KeptContract): Error {
  const id = kept.id.slice(0, 16)
  const until = new Date(termsOf(kept).openBy * 1000).toISOString().replace('.000Z', 'Z')
  return retold(
    error,
    `${messageOf(error)}: your stake of ${stakeIn(kept)} satoshi is set aside until ${until}, and the contract ${id} may ` +
      `still open by relay agent or the same command; relay contract close ${id} takes the stake back`,
  )
}

/** Made, and not brought back yet; satoshi. */
export const stakeIn = ({ stake, reclaim }: KeptContract): number =>
  stake === null || reclaim !== null
    ? 0
    : stake.funding.stakes.reduce((sum, { satoshis }) => sum + satoshis, 0)

/** Nothing is signed yet: nobody is asked to go on, and nobody can use the stake. */
export const isUnsigned = ({ state }: KeptContract['state']): boolean =>
  state === 'staking' || state === 'opening'

/** The stake of one that is not signed yet comes back. */
export const takeBack = async (site: Site, kept: KeptContract): Promise<KeptContract> =>
  follow(site, await tell(site, kept, { on: 'cancel', at: await momentAt(site) }))
