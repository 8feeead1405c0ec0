/** What commands that pay have in common. */
import { createInterface } from 'node:readline/promises'
import type { Session } from '../session.ts'
import { oneLine } from '../show.ts'

/** Where the coins are; remembered. */
export const coinOptions = {
  chain: { type: 'string' },
  headers: { type: 'string' },
  network: { type: 'string' },
} as const

/** As typed, else as the environment says. */
export function coinsOf(
  { io }: Session,
  values: { readonly [name in keyof typeof coinOptions]?: string | undefined },
) {
  const { RELAY_CHAIN, RELAY_HEADERS, RELAY_NETWORK } = io.env
  const { chain = RELAY_CHAIN, headers = RELAY_HEADERS, network = RELAY_NETWORK } = values
  return { chain, headers, network }
}

export const isTerminal = ({ io: { stdout, stderr } }: Session): boolean =>
  Boolean(stdout.isTTY && stderr.isTTY)

/** Only somebody at a terminal can be asked. */
export async function isAgreed(session: Session, question: string): Promise<boolean> {
  const { stdin, stderr, signal } = session.io
  if (!isTerminal(session)) return true
  const reader = createInterface({ input: stdin, output: stderr })
  try {
    // Where the input ends without an answer, there is none.
    const ended = new Promise<string>((resolve) => reader.once('close', () => resolve('')))
    const answer = await Promise.race([reader.question(`${oneLine(question)} [y/N] `, { signal }), ended])
    return /^y(?:es)?$/i.test(answer.trim())
  } finally {
    reader.close()
  }
}
