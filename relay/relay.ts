/** One running relay: store, service, live hub, HTTP and WebSocket, wired together and taken down in reverse. */
import { readFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import type { Network } from '../contracts/chain/chain.ts'
import { backend } from '../market/secp256k1.ts'
import { buildApp } from './app.ts'
import { BoxLive, boxLivePath } from './boxes/live/live.ts'
import type { Federation } from './boxes/departing.ts'
import { openNotices } from './boxes/open.ts'
import { partsOf } from './boxes/routes.ts'
import { BoxTraffic } from './boxes/traffic.ts'
import { Budget } from './budget.ts'
import { addDocs } from './docs/routes.ts'
import type { Config } from './config.ts'
import { type Core, openCore, type RelayDeps, type Undo } from './core.ts'
import { controlFile, hasStore, refuseFile } from './data-directory.ts'
import type { Sources } from './figures.ts'
import { describe } from './info.ts'
import { LiveHub } from './live.ts'
import { serveMetrics } from './metrics-server.ts'
import { advertsLivePath } from './market/advert-live.ts'
import { type Market, openMarket } from './market/market.ts'
import { type OpenedOverlay, openOverlay } from './overlay/open.ts'
import { Cashier } from './operator/cashier.ts'
import { openControl } from './operator/control.ts'
import { Operator } from './operator/operator.ts'
import { UsageError } from './operator/usage.ts'
import { openContracts, openPriceRule, openTill, openTreasury } from './parts.ts'
import { type OpenedPhip, openPhip } from './phip/open.ts'
import { listening, type Port, tryPort } from './port.ts'
import { partingMs, Sockets } from './sockets.ts'
import type { Till } from './till/till.ts'
import type { Treasury } from './treasury.ts'

export interface RunningRelay {
  readonly url: string
  readonly key: string
  /** Where Prometheus finds the metrics, with `--metrics`. */
  readonly metricsUrl: string | undefined
  /** Whose coins it takes; without a chain none. */
  readonly network: Network | undefined
  /** Of the devnet that runs inside. */
  readonly devnetUrl: string | undefined
  readonly operator: Operator
  /** Finishes what was accepted, then stops. */
  close(): Promise<void>
}

/** HTTP connections beyond the WebSockets. */
const httpConnections = 4096

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
    const treasury = await openTreasury(config, core, deps, undo)
    const till = treasury && (await openTill(config, { ...core, treasury }, undo))
    const contracts = treasury && (await openContracts(config, { ...core, treasury }, undo))
    const overlay = treasury && (await openOverlay(config, { ...core, treasury }, undo))
    const phip = await openPhip(config, { ...core, treasury, overlay }, undo)
    const market = await openMarket(config, core, undo)
    let sockets: Sockets | undefined
    const rule = await openPriceRule(config, { ...core, sockets: () => sockets }, undo)
    const boxNotices = await openNotices(config, core, undo)
    const { url, ...live } = await listen(config, { ...core, treasury, till, market, overlay, phip }, undo)
    sockets = live.sockets
    treasury?.keepFollowing(async () => {
      await till?.follow()
      await contracts?.follow()
      await overlay?.follow()
    })
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
      wallet: treasury?.status ?? null,
      contracts: contracts?.tally ?? null,
      capacity: core.capacity.state,
    })
    const { store, pricing, now, confirmClock } = core
    const { open, data } = config
    const coins = treasury && (() => treasury.export())
    const serving = { status, confirmClock, rule, advertiser: market.advertiser }
    const operator = new Operator({ store, pricing, now, open, data, coins, serving })
    const cashier = new Cashier({ treasury, isServing: true })
    metricsUrl = await openMetrics(
      config,
      { ...core, ...live, boxNotices, phip, operator, treasury, config, market },
      undo,
    )
    const network = treasury?.network ?? null
    await market.advertise({ url, network, hasTill: till !== undefined, overlayOutlet: overlay?.outlet })
    const control = await openControl(controlFile(data), (order, args, signal) =>
      (cashier.knows(order) ? cashier : operator).execute(order, args, signal),
    )
    undo.push(() => control.close())
    const coinsOf = { network: treasury?.network, devnetUrl: treasury?.devnetUrl }
    return { url, key, metricsUrl, ...coinsOf, operator, close }
  } catch (error) {
    await close()
    throw error
  }
}

/** HTTP and WebSocket on the configured address. Resolves when both are served. */
async function listen(
  config: Config,
  core: Core & {
    treasury: Treasury | undefined
    till: Till | undefined
    market: Market
    overlay: OpenedOverlay | undefined
    phip: OpenedPhip | undefined
  },
  undo: Undo,
) {
  const { limits, trustProxy, host, port } = config
  const { service, store, isKnown, onError, log, trouble, metrics, treasury } = core
  const { signer, means, pricing, till, market, overlay, phip } = core
  const budget = new Budget(limits.bodiesInFlightBytes)
  const tls = config.tls && {
    cert: await readPem('--tls-cert', config.tls.cert),
    key: await readPem('--tls-key', config.tls.key),
  }
  let url = ''
  const boxTraffic = new BoxTraffic(limits.boxRequestsPerMinute)
  const boxLive = openBoxLive(config, { ...core, till, budget, boxTraffic, federation: phip?.federation })
  const app = buildApp({
    ...{ service, signer, means, pricing, till },
    ...{ publicUrl: config.publicUrl, brc31: config.brc31, boxes: config.boxes, boxTraffic, boxLive },
    limits,
    info: () =>
      describe(config, {
        ...{ key: core.signer.identity, url, network: treasury?.network ?? null },
        hasTill: till !== undefined,
        contracts: core.contracts()?.offer ?? null,
        capacity: core.capacity.state,
        advert: market.advertiser()?.current ?? null,
      }),
    board: market.board,
    overlay: overlay?.host,
    authorizing: overlay?.authorizing,
    federation: phip?.federation,
    receiving: phip?.receiving,
    budget,
    trouble,
    trustProxy,
    observer: metrics,
    onRefusal: metrics && ((code) => metrics.httpRefusal(code)),
    log,
    ...(tls && { tls }),
  })
  const hasBoxes = config.boxes.isServed
  const has = {
    ...{ boxes: hasBoxes, till: till !== undefined, board: market.board !== undefined },
    ...{ phip: phip !== undefined, authorizing: hasBoxes && overlay?.authorizing !== undefined },
  }
  addDocs(app, has, () => url)
  app.server.maxConnections = limits.connections + httpConnections
  const hub = new LiveHub({ store, limits, onError })
  const { live } = market
  const paths = {
    ...(live && { [advertsLivePath]: live.upgrade.bind(live) }),
    ...(boxLive && { [boxLivePath]: boxLive.upgrade.bind(boxLive) }),
  }
  const sockets = new Sockets(app.server, { service, hub, limits, budget, trustProxy, isKnown, paths })
  // Open sockets would keep the server from closing, so they are closed first.
  app.addHook('preClose', async () => {
    await Promise.all([sockets.close(), live?.close(), boxLive?.close()])
  })
  undo.push(async () => {
    const cut = setInterval(() => app.server.closeAllConnections(), partingMs)
    await app.close()
    clearInterval(cut)
  })
  await listening(portsOf(config)[0], () => app.listen({ host, port }))
  url = config.publicUrl ?? listenUrl(app.server.address() as AddressInfo, tls !== undefined) // TCP servers have one
  return { url, sockets, hub, budget, boxLive, boxTraffic }
}

function openBoxLive(
  { boxes, publicUrl, trustProxy }: Config,
  core: Core & {
    till: Till | undefined
    budget: Budget
    boxTraffic: BoxTraffic
    federation: Federation | undefined
  },
): BoxLive | undefined {
  if (!boxes.isServed) return undefined
  const { means, signer, service, till, budget, boxTraffic, federation, monotonic, onError } = core
  const parts = partsOf({ boxes, means, till, federation })
  return new BoxLive({
    ...{ parts, signer, service, budget, boxTraffic },
    ...{ monotonic, publicUrl, trustProxy, onError },
  })
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
