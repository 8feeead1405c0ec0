/** Faults that are asked for: what a network does to a caller when it is not well. */
import { z } from 'zod'
import { RpcError, rpcCodes } from '../rpc-error.ts'

const mostTimes = 1_000_000
const mostDelayMs = 600_000
const mostFaults = 1000

export const Fault = z.strictObject({
  /** `*` for all but those of faults. */
  method: z.string().max(100),
  /**
   * `fail` answers with an error and does nothing; `delay` waits before it does anything; `drop` does it and closes the
   * connection without an answer; `refuse` closes it and does nothing.
   */
  kind: z.enum(['fail', 'delay', 'drop', 'refuse']),
  times: z.int().min(1).max(mostTimes).default(1),
  ms: z.int().min(0).max(mostDelayMs).default(0),
  code: z.int().default(rpcCodes.miscError),
  message: z.string().max(1000).default('a fault of this devnet that was asked for'),
})
export type Fault = z.infer<typeof Fault>

export class Faults {
  readonly #faults: { fault: Fault; left: number }[] = []

  add(fault: Fault): void {
    if (this.#faults.length >= mostFaults)
      throw new RpcError(rpcCodes.invalidParameter, `at most ${mostFaults} faults`)
    this.#faults.push({ fault, left: fault.times })
  }

  clear(): void {
    this.#faults.length = 0
  }

  /** The oldest that is meant for a method; it happens once less from now on. */
  take(method: string): Fault | undefined {
    const index = this.#faults.findIndex(({ fault }) => fault.method === method || fault.method === '*')
    const found = this.#faults[index]
    if (found === undefined) return undefined
    found.left--
    if (found.left === 0) this.#faults.splice(index, 1)
    return found.fault
  }
}
