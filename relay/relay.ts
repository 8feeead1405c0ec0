/** One running relay: store, service, live hub, HTTP and WebSocket, wired together and taken down in reverse. */
import { mkdir, readFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import type { Logger } from 'pino'
import { openOrCreateKeyFile } from '../contracts/wallet/key-file.ts'
import { isFree } from '../market/price.ts'
import { backend } from '../market/secp256k1.ts'
import type { Key } from '../market/units.ts'
import { Accounts } from './accounts.ts'
import { buildApp } from './app.ts'
import { Budget } from './budget.ts'
import { Clock } from './clock.ts'
import type { Config } from './config.ts'
import {
  controlFile,
  hasStore,
  keyFile,
  refuseFile,
  refuseLostKey,
  storeDirectory,
} from './data-directory.ts'
import type { Sources } from './figures.ts'
import { describe } from './info.ts'
import { LiveHub } from './live.ts'
import { Metrics } from './metrics.ts'
import { serveMetrics } from './metrics-server.ts'
import { openControl } from './operator/control.ts'
import { Operator } from './operator/operator.ts'
import { UsageError } from './operator/usage.ts'
import { listening, type Port, tryPort } from './port.ts'
import { Pricing } from './pricing.ts'
import { type HandlerDeps, Handlers } from './requests/handlers.ts'
import { Service } from './service.ts'
import { partingMs, Sockets } from './sockets.ts'
import { DiskGuard } from './store/disk.ts'
import { timeOf } from './store/place.ts'
import { Store } from './store/store.ts'
import { lastSweep, Sweeper } from './store/sweeper.ts'

export interface RunningRelay {
  readonly url: string
  readonly key: string
  /** Where Prometheus finds the metrics, with `--metrics`. */
  readonly metricsUrl: string | undefined
  readonly operator: Operator
  /** Finishes what was accepted, then stops. */
  close(): Promise<void>
}

export interface RelayDeps {
  readonly log: Logger
  /** Encrypts the relay's key at rest. */
  readonly passphrase?: string
  /** The relay's wall clock, milliseconds since 1970. */
  readonly now?: () => number
  /** Milliseconds that no setting of the clock changes. */
  readonly monotonic?: () => number
}

const sweepEveryMs = 10_000
/** HTTP connections beyond the WebSockets. */
const httpConnections = 4096

/** Steps that undo what was opened, run in reverse. */
type Undo = (() => Promise<void>)[]

/** Starts a relay on its data directory, which it creates with its key at the first start. */
export async function startRelay(config: Config, deps: RelayDeps): Promise<RunningRelay> {
  const undo: Undo = []
  const close = async (): Promise<void> => {
    for (const step of undo.splice(0).reverse()) await step()
  }
  try {
    await refuseFile(config.data)
    // Nothing is made for a relay that could not be reached.
    if (!(await hasStore(config.data))) for (const port of portsOf(config)) await tryPort(port)
    const core = await openCore(config, deps, undo)
    const { url, ...live } = await listen(config, core, undo)
    const key = core.signer.identity
    let metricsUrl: string | undefined
    const status = () => ({
      key,
      url,
      metricsUrl: metricsUrl ?? null,
      store: core.store.state,
      trouble: core.trouble() ?? null,
      signatures: backend,
      sweeper: core.sweeper.state,
      sockets: live.sockets.count,
    })
    const { store, pricing, now, confirmClock } = core
    const { open, data } = config
    const operator = new Operator({ store, pricing, now, open, data, serving: { status, confirmClock } })
    metricsUrl = await openMetrics(config, { ...core, ...live, operator, config }, undo)
    const control = await openControl(controlFile(data), (order, args, signal) =>
      operator.execute(order, args, signal),
    )
    undo.push(() => control.close())
    return { url, key, metricsUrl, operator, close }
  } catch (error) {
    await close()
    throw error
  }
}

type Core = Awaited<ReturnType<typeof openCore>>

/** What needs no network: the key, the store and its sweeper, and the service over them. */
async function openCore(config: Config, deps: RelayDeps, undo: Undo) {
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
  if (!open && allowed.size === 0 && isFree(pricing.next(now())?.prices ?? pricing.at(now())))
    log.warn('nobody may write: start with --open, --allow KEY or --price')
  const accounts = new Accounts({ store, pricing, limits, open, allowed, grantNew: config.grantNew })
  const { disk, clock, handlers } = openHandlers(config, { store, accounts, now, monotonic })
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
  const parts = { signer, store, sweeper, pricing, disk, clock, service, metrics }
  return { ...parts, isKnown, onError, log, now, monotonic, trouble, confirmClock }
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
  { monotonic, ...deps }: Pick<HandlerDeps, 'store' | 'accounts' | 'now'> & { monotonic: () => number },
) {
  const { store, now } = deps
  const disk = new DiskGuard({ directory: data, minFreeBytes: minFreeDiskBytes, now })
  const clock = new Clock({ now, monotonic, lastStamp: Math.max(timeOf(store.head()), lastSweep(store)) })
  const handlers = new Handlers({
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
  })
  return { disk, clock, handlers }
}

/** HTTP and WebSocket on the configured address. Resolves when both are served. */
async function listen(config: Config, core: Core, undo: Undo) {
  const { limits, trustProxy, host, port } = config
  const { service, store, isKnown, onError, log, trouble, metrics } = core
  const budget = new Budget(limits.bodiesInFlightBytes)
  const tls = config.tls && {
    cert: await readPem('--tls-cert', config.tls.cert),
    key: await readPem('--tls-key', config.tls.key),
  }
  let url = ''
  const app = buildApp({
    service,
    limits,
    info: () => describe(config, core.signer.identity, url),
    budget,
    trouble,
    trustProxy,
    onRefusal: metrics && ((code) => metrics.httpRefusal(code)),
    log,
    ...(tls && { tls }),
  })
  app.server.maxConnections = limits.connections + httpConnections
  const hub = new LiveHub({ store, limits, onError })
  const sockets = new Sockets(app.server, { service, hub, limits, budget, trustProxy, isKnown })
  // Open sockets would keep the server from closing, so they are closed first.
  app.addHook('preClose', () => sockets.close())
  undo.push(async () => {
    const cut = setInterval(() => app.server.closeAllConnections(), partingMs)
    await app.close()
    clearInterval(cut)
  })
  await listening(portsOf(config)[0], () => app.listen({ host, port }))
  url = config.publicUrl ?? listenUrl(app.server.address() as AddressInfo, tls !== undefined) // TCP servers have one
  return { url, sockets, hub, budget }
}

async function openMetrics(config: Config, sources: Sources & Core, undo: Undo): Promise<string | undefined> {
  const { metrics, onError, monotonic } = sources
  const [, port] = portsOf(config)
  if (port === undefined || metrics === undefined) return undefined
  const page = metrics.page(sources)
  const served = await listening(port, () => serveMetrics(port, { page, monotonic, onError }))
  undo.push(() => served.close())
  return `${listenUrl(served.address, false)}/metrics`
}

function portsOf({ host, port, metrics }: Config): [Port, ...Port[]] {
  const own = { option: '--listen', host, port }
  return metrics === undefined ? [own] : [own, { option: '--metrics', ...metrics }]
}

async function readPem(option: string, file: string): Promise<Buffer> {
  try {
    return await readFile(file)
  } catch (cause) {
    throw new UsageError(`${option}: ${file} cannot be read`, { cause })
  }
}

function listenUrl({ address, family, port }: AddressInfo, secure: boolean): string {
  const host = family === 'IPv6' ? `[${address}]` : address
  return `${secure ? 'https' : 'http'}://${host}:${port}`
}
