/**
 * Storage challenges: does a relay still hold what it is paid for? Each is billed as a pull of 1024 bytes (docs/protocol.md
 * §4.9).
 */
import { randomInt } from 'node:crypto'
import type { Receipt } from '../../contracts/receipt.ts'
import type { Sealed } from '../../market/envelope.ts'
import { leafCount } from '../../market/merkle.ts'
import { parsePath } from '../../market/record.ts'
import type { Context } from '../context.ts'
import { codeOf } from '../errors.ts'
import { keepProof } from '../home/outbox.ts'
import { ask } from '../wire/ask.ts'
import type { CallOptions, Connection } from '../wire/connection.ts'

export interface ChallengeOptions extends CallOptions {
  /** Live records that are paid for. */
  readonly receipts: readonly Receipt[]
  readonly count: number
}

/**
 * Asks for a random leaf of so many of these records, and keeps what the relay signs to it. What is not answered, or cannot
 * be paid, says nothing. Returns how many were answered.
 */
export async function challenge(
  ctx: Context,
  connection: Connection,
  { receipts, count, signal }: ChallengeOptions,
): Promise<number> {
  const { key: relay } = connection.address
  let answered = 0
  for (const { path, bytes } of sampleOf(receipts, count)) {
    const place = { id: parsePath(path).recordId, relay }
    let re = ''
    const onSealed = (sealed: Sealed) => {
      re = sealed.hash
      return keepProof(ctx.home, place, { re })
    }
    const request = { type: 'prove' as const, path, index: randomInt(leafCount(bytes)) }
    try {
      const { asked, text, answer } = await ask(connection, request, { signal, attempts: 1, onSealed })
      if ('error' in answer && answer.error.code !== 'ERR_NOT_FOUND') continue
      await keepProof(ctx.home, place, { re, asked, text })
      answered += 1
    } catch (error) {
      signal?.throwIfAborted()
      if (codeOf(error) === undefined) throw error
    }
  }
  return answered
}

/** So many of them, none twice, each as likely as any other. */
function sampleOf<T>(all: readonly T[], count: number): T[] {
  const left = [...all]
  const chosen: T[] = []
  while (chosen.length < count && left.length > 0) chosen.push(...left.splice(randomInt(left.length), 1))
  return chosen
}
