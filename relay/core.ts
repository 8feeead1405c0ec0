/** What of a relay needs no network: the key, the store and its sweeper, and the service over them. */
import { mkdir } from 'node:fs/promises'
import type { Logger } from 'pino'
import { openOrCreateKeyFile } from '../contracts/wallet/key-file.ts'
import { isFree } from '../market/price.ts'
import { backend } from '../market/secp256k1.ts'
import type { Key } from '../market/units.ts'
import { Accounts } from './accounts.ts'
import { Clock } from './clock.ts'
import type { Config } from './config.ts'
import type { Contracts } from './escrow/contracts.ts'
import { keyFile, refuseLostKey, storeDirectory } from './data-directory.ts'
import { Capacity, capacityOfDisk } from './market/capacity.ts'
import { Metrics } from './metrics.ts'
import { Pricing } from './pricing.ts'
import { type HandlerDeps, Handlers } from './requests/handlers.ts'
import { Service } from './service.ts'
import { DiskGuard } from './store/disk.ts'
import { timeOf } from './store/place.ts'
import { Store } from './store/store.ts'
import { lastSweep, Sweeper } from './store/sweeper.ts'
import type { Till } from './till/till.ts'

export interface RelayDeps {
  readonly log: Logger
  /** Encrypts the relay's key at rest. */
  readonly passphrase?: string
  /** The relay's wall clock, milliseconds since 1970. */
  readonly now?: () => number
  /** Milliseconds that no setting of the clock changes. */
  readonly monotonic?: () => number
  /** Where `--chain devnet` is; for tests. */
  readonly devnetUrl?: string
  /** How often the chain is asked; for tests. */
  readonly followEveryMs?: number
}

const sweepEveryMs = 10_000

/** Steps that undo what was opened, run in reverse. */
export type Undo = (() => Promise<void>)[]

export type Core = Awaited<ReturnType<typeof openCore>>

/** Opened in this order, and undone in reverse. */
export async function openCore(config: Config, deps: RelayDeps, undo: Undo) {
  const { log, passphrase, now = Date.now, monotonic = () => performance.now() } = deps
  const { data, limits, open } = config
  const directory = storeDirectory(data)
  await mkdir(directory, { recursive: true, mode: 0o700 })
  await refuseLostKey(data)
  const signer = await openOrCreateKeyFile(keyFile(data), passphrase === undefined ? {} : { passphrase })
  const metrics = config.metrics && new Metrics()
  const store = await Store.open({ directory, now, log, observer: metrics })
  undo.push(() => store.close())

  // Without its prebuilt binary the curve still works, at a third of the speed; an operator should know.
  log[backend === 'native' ? 'info' : 'warn']({ backend }, 'signatures are made and checked')
  const onError = (error: unknown) => log.error({ err: error }, 'internal error')
  const sweeper = new Sweeper({ store, now, monotonic, log })
  keepSweeping(sweeper, onError, undo)

  const allowed = new Set(config.allow)
  const pricing = await Pricing.open(store, { configured: config.prices, open })
  if (
    !open &&
    !(config.boxes.isServed && config.boxes.isOpen) &&
    allowed.size === 0 &&
    !config.autoPrice &&
    isFree(pricing.next(now())?.prices ?? pricing.at(now()))
  )
    log.warn('nobody may write: start with --open, --allow KEY or --price')
  /** Opened later, where there is a chain. */
  let till: Till | undefined
  let opened: Contracts | undefined
  const contracts = () => opened
  const { grantNew, minFreeDiskBytes } = config
  const room = config.capacityBytes ?? capacityOfDisk(store, data, minFreeDiskBytes)
  const capacity = new Capacity(store, room)
  const accounts = new Accounts({ store, pricing, capacity, limits, open, allowed, grantNew, contracts })
  const { disk, clock, handlers, means } = openHandlers(config, {
    ...{ store, accounts, now, monotonic, contracts },
    till: () => till,
  })
  const service = new Service({
    signer,
    limits,
    handlers,
    now,
    restoredAt: store.meta.restoredAt,
    onInternal: onError,
    observer: metrics,
  })
  const isKnown = async (identity: Key) =>
    allowed.has(identity) || accounts.has(identity) || (await store.hasRecords(identity))
  const trouble = () =>
    store.state === 'ready' ? (clock.trouble ?? disk.trouble) : `the store is ${store.state}`
  const confirmClock = () => {
    clock.confirm()
    sweeper.confirm()
  }
  const parts = { signer, store, sweeper, pricing, capacity, disk, clock, service, metrics, means }
  const useTill = (ready: Till) => {
    till = ready
  }
  const useContracts = (ready: Contracts) => {
    opened = ready
  }
  return {
    ...parts,
    useTill,
    useContracts,
    contracts,
    isKnown,
    onError,
    log,
    now,
    monotonic,
    trouble,
    confirmClock,
  }
}

function keepSweeping(sweeper: Sweeper, onError: (error: unknown) => void, undo: Undo): void {
  let sweep: Promise<unknown> = Promise.resolve()
  const timer = setInterval(() => {
    sweep = sweeper.run().catch(onError)
  }, sweepEveryMs)
  undo.push(async () => {
    clearInterval(timer)
    await sweep
  })
}

/** What requests do, and what may keep them from it: a disk without room, a clock that is not trusted. */
function openHandlers(
  { data, limits, minFreeDiskBytes }: Config,
  {
    monotonic,
    ...deps
  }: Pick<HandlerDeps, 'store' | 'accounts' | 'now' | 'till' | 'contracts'> & { monotonic: () => number },
) {
  const { store, now } = deps
  const disk = new DiskGuard({ directory: data, minFreeBytes: minFreeDiskBytes, now })
  const clock = new Clock({ now, monotonic, lastStamp: Math.max(timeOf(store.head()), lastSweep(store)) })
  const means: HandlerDeps = {
    ...deps,
    limits,
    admitWrite: (bytes) => {
      clock.check()
      disk.admit(bytes)
    },
    admitRead: () => {
      clock.check()
      disk.admitPull()
    },
    admitEnd: () => clock.check(),
  }
  return { disk, clock, handlers: new Handlers(means), means }
}
