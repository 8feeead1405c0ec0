/** The relay's metrics for Prometheus (docs/metrics.md): what is counted as it happens, and what is asked for at each scrape. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { replies, type RequestType } from '../contracts/api.ts'
import { type Code, codes } from '../market/errors.ts'
import { type Figure, figures, type Moment, type Sources } from './figures.ts'
import { figuresOfAdverts } from './figures-of-adverts.ts'
import { figuresOfBoxes } from './figures-of-boxes.ts'
import { figuresOfCoins } from './figures-of-coins.ts'
import { figuresOfContracts } from './figures-of-contracts.ts'
import type { RequestObserver } from './service.ts'
import type { StoreObserver } from './store/store.ts'

type MessageType = RequestType | 'unadmitted'
type Outcome = Code | 'ok'

// The tables have every code and every type.
const refusals = Object.keys(codes) as Code[]
const outcomes: readonly Outcome[] = ['ok', ...refusals]
const messageTypes = [...(Object.keys(replies) as RequestType[]), 'unadmitted'] as const

const secondsBuckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10]
const operationsBuckets = [1, 2, 4, 8, 16, 32, 64, 128, 256]

/** Figures of the runtime for which each scrape would walk through all its handles; `relay_sockets` says more. */
const walks = ['resources', 'handles', 'requests'].flatMap((kind) => [
  `nodejs_active_${kind}`,
  `nodejs_active_${kind}_total`,
])

/** What one relay is measured by: counted as things happen, and asked for at each scrape. */
export class Metrics implements RequestObserver, StoreObserver {
  readonly #registry = new Registry()
  readonly #requests = requests(this.#registry)
  readonly #batches = coded(this.#counter('relay_batches_total', 'HTTP batches answered', 'code'), outcomes)
  readonly #httpRefusals = coded(
    this.#counter('relay_http_refusals_total', 'HTTP requests refused before a message was read', 'code'),
    refusals,
  )
  readonly #commitSeconds = new Histogram({
    name: 'relay_commit_duration_seconds',
    help: 'Time to write and sync one commit',
    buckets: secondsBuckets,
    registers: [this.#registry],
  })
  readonly #commitOperations = new Histogram({
    name: 'relay_commit_operations',
    help: 'Operations that shared one commit',
    buckets: operationsBuckets,
    registers: [this.#registry],
  })
  readonly #commitFailures = this.#counter('relay_commit_failures_total', 'Commits that could not be written')
  readonly #written = this.#counter('relay_records_written_total', 'Records stored')
  readonly #writtenBytes = this.#counter('relay_records_written_bytes_total', 'Content of records stored')
  readonly #served = this.#counter('relay_records_served_total', 'Reads answered with a record')
  readonly #servedBytes = this.#counter('relay_records_served_bytes_total', 'Content of records served')

  constructor() {
    // What this attaches to the process stays attached: outside of tests a process has one relay.
    collectDefaultMetrics({ register: this.#registry })
    for (const name of walks) this.#registry.removeSingleMetric(name)
  }

  request(type: MessageType, code: Outcome, seconds: number): void {
    const { count, duration } = this.#requests[type]
    count[code].inc()
    duration.observe(seconds)
  }

  batch(code: Outcome): void {
    this.#batches[code].inc()
  }

  httpRefusal(code: Code): void {
    this.#httpRefusals[code].inc()
  }

  commit(operations: number, seconds: number): void {
    this.#commitOperations.observe(operations)
    this.#commitSeconds.observe(seconds)
  }

  commitFailed(): void {
    this.#commitFailures.inc()
  }

  written(bytes: number): void {
    this.#written.inc()
    this.#writtenBytes.inc(bytes)
  }

  served(bytes: number): void {
    this.#served.inc()
    this.#servedBytes.inc(bytes)
  }

  /** Adds the figures of `sources`, once. Returns what makes the page. */
  page({ operator, ...sources }: Sources): () => Promise<string> {
    const setters = [
      ...figures,
      ...figuresOfCoins,
      ...figuresOfContracts,
      ...figuresOfAdverts,
      ...figuresOfBoxes,
    ].map((figure) => this.#setter(figure))
    let summary = operator.summary()
    return async () => {
      // A store that is being reopened cannot be read, just when the page is needed most: the last sums stand.
      if (sources.store.state === 'ready') summary = operator.summary()
      const contracts = sources.contracts?.()?.tally
      for (const set of setters) set({ ...sources, ...summary, contracts })
      return this.#registry.metrics()
    }
  }

  #setter({ type, name, help, labels = [], at }: Figure): (moment: Moment) => void {
    const settings = { name, help, labelNames: [...labels], registers: [this.#registry] }
    const metric = type === 'gauge' ? new Gauge(settings) : new Counter(settings)
    const set = (labels: Readonly<Record<string, string>>, value: number) =>
      metric instanceof Gauge ? metric.set(labels, value) : metric.inc(labels, value)
    return (moment) => {
      const value = at(moment)
      // What a counter of the relay has come to is the whole count.
      metric.reset()
      if (typeof value === 'number') set({}, value)
      else for (const sample of value) set(sample.labels, sample.value)
    }
  }

  #counter(name: string, help: string, ...labelNames: string[]): Counter {
    return new Counter({ name, help, labelNames, registers: [this.#registry] })
  }
}

/** One child for each code, made beforehand: a first failure is a rise from zero, and counting it takes no search. */
function coded<C extends Outcome>(counter: Counter, codes: readonly C[], ...before: string[]) {
  const children = codes.map((code) => [code, counter.labels(...before, code)] as const)
  for (const [, child] of children) child.inc(0)
  return Object.fromEntries(children) as Record<C, Counter.Internal> // it has every one of `codes`
}

function requests(registry: Registry) {
  const registers = [registry]
  const count = new Counter({
    name: 'relay_requests_total',
    help: 'Messages answered',
    labelNames: ['type', 'code'],
    registers,
  })
  const duration = new Histogram({
    name: 'relay_request_duration_seconds',
    help: 'Time from a message to its answer',
    labelNames: ['type'],
    buckets: secondsBuckets,
    registers,
  })
  const entries = messageTypes.map((type) => {
    duration.zero({ type })
    return [type, { count: coded(count, outcomes, type), duration: duration.labels(type) }] as const
  })
  return Object.fromEntries(entries) as Record<MessageType, (typeof entries)[number][1]> // it has every type
}
