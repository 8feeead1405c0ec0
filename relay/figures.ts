/** The figures that are asked for at each scrape (docs/metrics.md): how the parts of a relay stand at that moment. */
import type { BoxLive } from './boxes/live/live.ts'
import type { BoxNotices } from './boxes/notices.ts'
import type { OpenedPhip } from './phip/open.ts'
import type { BoxTraffic } from './boxes/traffic.ts'
import type { Budget } from './budget.ts'
import type { Clock } from './clock.ts'
import type { Config } from './config.ts'
import type { Contracts } from './escrow/contracts.ts'
import type { Tally } from './escrow/tally.ts'
import type { LiveHub } from './live.ts'
import type { Market } from './market/market.ts'
import type { Capacity } from './market/capacity.ts'
import type { Operator } from './operator/operator.ts'
import type { Service } from './service.ts'
import type { Sockets } from './sockets.ts'
import type { StoreState } from './store/committer.ts'
import type { DiskGuard } from './store/disk.ts'
import type { Store } from './store/store.ts'
import type { Sweeper } from './store/sweeper.ts'
import type { Treasury } from './treasury.ts'
import { version } from './version.ts'

/** Whom a scrape asks. None of the answers takes a search. */
export interface Sources {
  readonly config: Pick<Config, 'limits' | 'minFreeDiskBytes'>
  readonly store: Pick<Store, 'state' | 'waiting'>
  readonly service: Pick<Service, 'remembered'>
  readonly operator: Pick<Operator, 'summary'>
  readonly sweeper: Pick<Sweeper, 'state'>
  readonly disk: Pick<DiskGuard, 'free'>
  readonly capacity: Pick<Capacity, 'state'>
  readonly clock: Pick<Clock, 'trouble'>
  readonly hub: Pick<LiveHub, 'counts'>
  readonly sockets: Pick<Sockets, 'count'>
  readonly budget: Pick<Budget, 'heldBytes'>
  /** Undefined where the relay has no chain. */
  readonly treasury?: Pick<Treasury, 'network' | 'status' | 'silentSeconds'> | undefined
  /** Undefined where there are none. */
  readonly contracts?: (() => Pick<Contracts, 'tally'> | undefined) | undefined
  readonly market?: Pick<Market, 'board' | 'live' | 'advertiser'> | undefined
  readonly boxTraffic?: Pick<BoxTraffic, 'answered'> | undefined
  readonly boxLive?: Pick<BoxLive, 'counts'> | undefined
  readonly boxNotices?: Pick<BoxNotices, 'counts'> | undefined
  readonly phip?: Pick<OpenedPhip, 'counts'> | undefined
  /** Why the relay cannot serve, or undefined when it can. */
  readonly trouble: () => string | undefined
}

/** The sources with prices, totals and contracts, which are read once so that the sums agree. */
export type Moment = Omit<Sources, 'operator' | 'contracts'> &
  ReturnType<Operator['summary']> & { readonly contracts: Tally | undefined }

export interface Figure {
  readonly type: 'gauge' | 'counter'
  readonly name: string
  readonly help: string
  /** What tells the samples of `at` apart, where there are several. */
  readonly labels?: readonly string[]
  readonly at: (moment: Moment) => number | readonly Sample[]
}

export interface Sample {
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

const gauge = (name: string, help: string, at: (moment: Moment) => number): Figure => ({
  type: 'gauge',
  name,
  help,
  at,
})
const counter = (name: string, help: string, at: (moment: Moment) => number): Figure => ({
  type: 'counter',
  name,
  help,
  at,
})
/** A sample for each value of one label. */
const each = (label: string, values: Readonly<Record<string, number>>): Sample[] =>
  Object.entries(values).map(([name, value]) => ({ labels: { [label]: name }, value }))
const flag = (is: boolean): number => (is ? 1 : 0)

const states: readonly StoreState[] = ['ready', 'recovering', 'failed']

export const figures: readonly Figure[] = [
  {
    type: 'gauge',
    name: 'relay_build_info',
    help: 'Always 1; the label says which version runs',
    labels: ['version'],
    at: () => each('version', { [version]: 1 }),
  },
  gauge('relay_healthy', '1 while the relay can serve, as GET /health says', ({ trouble }) =>
    flag(trouble() === undefined),
  ),
  {
    type: 'gauge',
    name: 'relay_store_state',
    help: '1 for the state that the store is in',
    labels: ['state'],
    at: ({ store }) => states.map((state) => ({ labels: { state }, value: flag(store.state === state) })),
  },
  gauge('relay_clock_trouble', '1 while the clock is not trusted and nothing is written', ({ clock }) =>
    flag(clock.trouble !== undefined),
  ),
  gauge('relay_sweeper_waiting', '1 while nothing expired is deleted until confirm-clock', ({ sweeper }) =>
    flag(sweeper.state.state !== 'running'),
  ),
  gauge('relay_disk_free_bytes', 'Free bytes of the file system of the data folder', ({ disk }) => disk.free),
  gauge('relay_disk_reserve_bytes', 'Writes are refused below this', ({ config }) => config.minFreeDiskBytes),
  gauge(
    'relay_capacity_bytes',
    'Bytes that may be promised (--capacity)',
    ({ capacity }) => capacity.state.bytes,
  ),
  gauge(
    'relay_promised_bytes',
    'Bytes that are promised: never more than may be',
    ({ capacity }) => capacity.state.sold,
  ),
  gauge(
    'relay_commit_queue_operations',
    'Operations that wait for the next commit',
    ({ store }) => store.waiting.operations,
  ),
  gauge('relay_commit_queue_bytes', 'Memory of the operations that wait', ({ store }) => store.waiting.bytes),
  gauge('relay_sockets', 'Open WebSockets', ({ sockets }) => sockets.count),
  gauge('relay_max_sockets', 'Limit of relay_sockets', ({ config }) => config.limits.connections),
  gauge('relay_subscriptions', 'Open subscriptions', ({ hub }) => hub.counts.subscriptions),
  counter('relay_pushes_total', 'Frames pushed to subscriptions', ({ hub }) => hub.counts.pushes),
  gauge(
    'relay_in_flight_bytes',
    'Bodies being received and answers not sent',
    ({ budget }) => budget.heldBytes,
  ),
  gauge(
    'relay_max_in_flight_bytes',
    'Limit of relay_in_flight_bytes',
    ({ config }) => config.limits.bodiesInFlightBytes,
  ),
  gauge('relay_replay_entries', 'Requests remembered while fresh', ({ service }) => service.remembered),
  gauge('relay_max_replay_entries', 'Limit of relay_replay_entries', ({ config }) => config.limits.replay),
  {
    type: 'gauge',
    name: 'relay_price_satoshi',
    help: 'Price of a new record, per GB or per GB and day',
    labels: ['price'],
    at: ({ prices: { storageGBDay, egressGB, ingressGB } }) =>
      each('price', { storageGBDay, egressGB, ingressGB }),
  },
  counter('relay_ledger_received_satoshi_total', 'Credit received', ({ ledger }) => ledger.received),
  counter(
    'relay_ledger_returned_satoshi_total',
    'Credit returned or lapsed',
    ({ ledger }) => ledger.returned,
  ),
  counter('relay_ledger_earned_satoshi_total', 'Earned by service given', ({ ledger }) => ledger.earned),
  gauge('relay_ledger_reserved_satoshi', 'Set aside for live records', ({ ledger }) => ledger.reserved),
  gauge('relay_ledger_available_satoshi', 'Free for new records', ({ ledger }) => ledger.available),
  gauge('relay_ledger_purses', 'Purses that were opened', ({ ledger }) => ledger.purses),
  counter('relay_ledger_entries_total', 'Entries of the ledger', ({ ledger }) => ledger.entries),
]
