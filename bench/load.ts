/** Asks a relay a list of things at a given concurrency and finds out what that cost it. */
import type { Figure } from './figures.ts'
import { percentile } from './figures.ts'
import { type Answer, HttpConnection } from './http.ts'
import type { Message } from './messages.ts'
import type { RelayProcess } from './relay-process.ts'

export interface Load {
  /** In the order of the requests. They are not checked yet. */
  readonly answers: readonly Answer[]
  readonly latenciesMs: Float64Array
  readonly wallMs: number
  readonly cpuMicros: number
}

export async function load(
  relay: RelayProcess,
  messages: readonly Message[],
  concurrency: number,
): Promise<Load> {
  const connections = await Promise.all(
    Array.from({ length: concurrency }, () => HttpConnection.open(relay.url)),
  )
  const answers: Answer[] = new Array(messages.length)
  const latenciesMs = new Float64Array(messages.length)
  let next = 0
  const ask = async (connection: HttpConnection): Promise<void> => {
    for (let index = next++; index < messages.length; index = next++) {
      const began = performance.now()
      answers[index] = await connection.post(messages[index]!.text)
      latenciesMs[index] = performance.now() - began
    }
  }
  const cpuBefore = relay.cpuMicros()
  const began = performance.now()
  try {
    await Promise.all(connections.map(ask))
    const wallMs = performance.now() - began
    return { answers, latenciesMs, wallMs, cpuMicros: relay.cpuMicros() - cpuBefore }
  } finally {
    for (const connection of connections) connection.close()
  }
}

/** The figure of a load whose answers were checked; a message may stand for several operations. */
export function figureOf(
  what: string,
  { answers, latenciesMs, wallMs, cpuMicros }: Load,
  operationsPerMessage = 1,
) {
  const operations = answers.length * operationsPerMessage
  return {
    what,
    operations,
    opsPerSecond: (operations / wallMs) * 1000,
    cpuMicros: cpuMicros / operations,
    cpuTotalMs: cpuMicros / 1000,
    p50Ms: percentile(latenciesMs, 0.5),
    p99Ms: percentile(latenciesMs, 0.99),
  } satisfies Figure
}

/** A figure beside the CPU an operation may take and, where named, the rate it must reach. */
export function against<F extends { cpuMicros: number; opsPerSecond: number }>(
  figure: F,
  { micros, perSecond }: { micros: number; perSecond?: number },
): F & Pick<Figure, 'target'> {
  const text = `≤ ${micros} µs${perSecond === undefined ? '' : `, ≥ ${perSecond}/s`}`
  const met = figure.cpuMicros <= micros && figure.opsPerSecond >= (perSecond ?? 0)
  return { ...figure, target: { text, met, micros } }
}
