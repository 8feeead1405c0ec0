/** The relay's part in the market: the board it keeps for everybody, and what it says of itself. */
import { type Advert, advertLimits } from '../../market/advert.ts'
import type { Outlet } from '../../market/channels/channel.ts'
import { openChannel, parseChannel } from '../../market/channels/open.ts'
import { freePrices, isFree } from '../../market/price.ts'
import type { Prices } from '../../market/units.ts'
import type { Config } from '../config.ts'
import type { Core, Undo } from '../core.ts'
import { offeredFeatures } from '../info.ts'
import { isDraining } from '../store/contracts.ts'
import { type Pricing, priceNames } from '../pricing.ts'
import { AdvertLive } from './advert-live.ts'
import { Advertiser } from './advertiser.ts'
import { Board, boardPolicy } from './board.ts'
import { mine } from './miner.ts'
import { ownBoard } from './offer.ts'
import { outside } from './outside.ts'

/** What of the market a relay has. */
export interface Market {
  /** Absent with `--no-board`. */
  readonly board: Board | undefined
  readonly live: AdvertLive | undefined
  /** Undefined until the relay can be reached. */
  readonly advertiser: () => Advertiser | undefined
  /** Begins to advertise, as `--advertise` says, or to revoke what is not to be advertised any more. */
  advertise(surroundings: Surroundings): Promise<void>
}

/** How the relay is seen from outside. */
export interface Surroundings {
  readonly url: string
  readonly network: Advert['network']
  readonly hasTill: boolean
  /** Opens an overlay, by what stands behind `overlay:`. */
  readonly overlayOutlet?: ((target: string) => Outlet) | undefined
}

export async function openMarket(config: Config, core: Core, undo: Undo): Promise<Market> {
  const board = config.board ? await openBoard(config, core, undo) : undefined
  let advertiser: Advertiser | undefined
  return {
    board,
    live: board && new AdvertLive(board),
    advertiser: () => advertiser,
    async advertise(surroundings) {
      const opened = await openAdvertiser({ config, board, ...surroundings }, core)
      undo.push(() => opened.close())
      opened.start()
      advertiser = opened
    },
  }
}

async function openBoard(config: Config, core: Core, undo: Undo): Promise<Board> {
  const { store, now, log, signer, clock, onError } = core
  const { advertBits: bits, adverts: most } = config.limits
  const isTimeTrusted = () => clock.trouble === undefined
  const board = await Board.open({ store, now, log, bits, most, own: signer.identity, isTimeTrusted })
  let swept: Promise<void> = Promise.resolve()
  const timer = setInterval(() => {
    swept = board.sweep().catch(onError)
  }, boardPolicy.sweepEveryMs)
  undo.push(async () => {
    clearInterval(timer)
    await swept
  })
  return board
}

function openAdvertiser(
  {
    config,
    board,
    url,
    network,
    hasTill,
    overlayOutlet,
  }: Surroundings & { config: Config; board: Board | undefined },
  { store, signer, now, log, pricing, clock }: Core,
): Promise<Advertiser> {
  const features = offeredFeatures({
    hasTill,
    hasBoard: board !== undefined,
    hasBoxes: config.boxes.isServed,
  })
  const { recordBytes, ttl, advertBits: bits } = config.limits
  return Advertiser.open({
    ...{ store, signer, now, log, bits, mine, channels: config.advertise, hasBoard: board !== undefined },
    open: async (name) => {
      if (name === ownBoard && board !== undefined) return boardOutlet(board)
      const { kind, target } = parseChannel(name)
      if (kind === 'overlay' && overlayOutlet !== undefined) return overlayOutlet(target)
      return openChannel(name, outside({ now }), ({ message }) =>
        log.warn({ channel: name, reason: message }, 'a channel of adverts fails'),
      )
    },
    isTimeTrusted: () => clock.trouble === undefined,
    offer: (time) => {
      if (isDraining(store)) return 'the relay drains'
      const prices = config.open ? freePrices : highestPrices(pricing, time)
      if (network === null && !isFree(prices)) return 'it has prices, and no --chain to be paid on'
      return {
        type: 'serverBroadcast',
        serverPubKey: signer.identity,
        address: url,
        storageCostPerGigPerDay: prices.storageGBDay,
        bandwidthCostPerGig: prices.egressGB,
        ingressCostPerGig: prices.ingressGB,
        network,
        protocol: 1,
        features: features.slice(0, advertLimits.features),
        limits: { recordBytes, ttl },
      }
    },
  })
}

/**
 * Of the prices that hold and those that were decided on, the higher ones: a rise is advertised before it holds, a fall once it
 * holds, so nobody ever pays more than the newest advert says. Rises are noticed longer ahead than adverts are apart (§4.7).
 */
function highestPrices(pricing: Pick<Pricing, 'at' | 'next'>, now: number): Prices {
  const [prices, next] = [{ ...pricing.at(now) }, pricing.next(now)]
  for (const name of priceNames) prices[name] = Math.max(prices[name], next?.prices[name] ?? 0)
  return prices
}

function boardOutlet(board: Board): Outlet {
  return {
    async publish(text) {
      await board.offer(text)
    },
    async close() {},
  }
}
