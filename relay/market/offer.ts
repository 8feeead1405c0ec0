/** What an advertiser (advertiser.ts) is told, and how often it speaks. */
import type { Advert, AdvertClaims } from '../../market/advert.ts'
import type { Outlet } from '../../market/channels/channel.ts'
import type { Signer } from '../../market/envelope.ts'
import type { Log } from '../store/committer.ts'
import type { Store } from '../store/store.ts'
import { boardPolicy } from './board.ts'
import type { Mined, MineOptions } from './miner.ts'

export const advertPolicy = {
  /** How long an advert holds; it is made anew after half of it. */
  lifeMs: 24 * 3_600_000,
  /** Between two adverts, a revocation excepted: boards ask for it. */
  paceMs: boardPolicy.paceMs,
  lookEveryMs: 10_000,
} as const

/** How the relay's own board is named among channels. */
export const ownBoard = 'board:self'

/** What an advert says of the relay itself. */
export type Offer = Omit<AdvertClaims, 'timestamp' | 'expires' | 'seq'>

export interface AdvertiserOptions {
  readonly store: Store
  readonly signer: Signer
  readonly now: () => number
  readonly log: Log
  /** Where to advertise, as `--advertise` says; none: not at all. */
  readonly channels: readonly string[]
  /** Where the relay has a board, its advert stands there too. */
  readonly hasBoard: boolean
  readonly open: (name: string) => Promise<Outlet>
  /** Work of its adverts, in leading zero bits. */
  readonly bits: number
  readonly mine: (text: string, options: MineOptions) => Promise<Mined>
  /** Nothing is made while the clock is wrong: an advert of the future would stand above all that follow. */
  readonly isTimeTrusted: () => boolean
  /** What the relay offers at `now`, or why it offers nothing. */
  readonly offer: (now: number) => Offer | string
}

export function offerOf(advert: Advert): Offer {
  const { timestamp: _, expires: __, seq: ___, proofOfWork: ____, signature: _____, ...offer } = advert
  return offer
}
