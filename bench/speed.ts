/**
 * How fast this machine is right now: what a verification and a signature cost while all its cores are busy, as they are
 * under load. Shared and virtual machines differ by a factor of two from one hour to the next, with their figures.
 */
import { randomBytes } from 'node:crypto'
import { cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { publicKeyOf, sign, verify } from '../market/secp256k1.ts'
import { runChild } from './relay-process.ts'

const Cost = z.object({ verify: z.number(), sign: z.number() })

export interface Speed {
  readonly verifyMicros: number
  readonly signMicros: number
  /** Of this machine, by the one the targets were set on: they were met there by what is this much of them here. */
  readonly factor: number
}

/** What the two cost, inside a relay under load, where the targets were set. */
const reference = { verifyMicros: 36, signMicros: 29 }
const rounds = 8000

export async function measureSpeed(): Promise<Speed> {
  const self = fileURLToPath(import.meta.url)
  const lines = await Promise.all(cpus().map(() => runChild(self, ['measure'])))
  const costs = lines.map(([line = '']) => Cost.parse(JSON.parse(line)))
  const mean = (name: 'verify' | 'sign') => costs.reduce((sum, cost) => sum + cost[name], 0) / costs.length
  const verifyMicros = mean('verify')
  const signMicros = mean('sign')
  const factor = (reference.verifyMicros + reference.signMicros) / (verifyMicros + signMicros)
  return { verifyMicros, signMicros, factor }
}

function measure(): z.infer<typeof Cost> {
  const privateKey = randomBytes(32)
  const digest = randomBytes(32)
  const publicKey = publicKeyOf(privateKey)
  const signature = sign(digest, privateKey)
  const micros = (work: () => unknown): number => {
    const before = process.cpuUsage()
    for (let round = 0; round < rounds; round++) work()
    const { user, system } = process.cpuUsage(before)
    return (user + system) / rounds
  }
  return {
    verify: micros(() => verify(signature, digest, publicKey)),
    sign: micros(() => sign(digest, privateKey)),
  }
}

if (process.argv[2] === 'measure' && process.argv[1] === fileURLToPath(import.meta.url)) {
  process.stdout.write(`${JSON.stringify(measure())}\n`)
}
