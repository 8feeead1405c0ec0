/** One server asked many questions: turns are bounded in time, and over when it is closed. */
import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { HttpServer } from '../../contracts/chain/http.ts'
import { serve } from '../fixtures/chain.ts'

const question = { method: 'GET', path: '/', again: false } as const
const unavailable = { code: 'ERR_CHAIN_UNAVAILABLE' }

/** A server that never answers. */
async function slowServer(t: Test, timeoutMs: number) {
  const seen = { requests: 0 }
  const url = await serve(t, () => void seen.requests++)
  const server = new HttpServer({ url: new URL(url), timeoutMs })
  t.teardown(() => server.close())
  return { server, seen }
}

t.test('who waits for a turn waits no longer than for an answer', async (t) => {
  const { server, seen } = await slowServer(t, 200)

  const asked = await Promise.allSettled(Array.from({ length: 20 }, () => server.ask(question)))

  for (const { status } of asked) t.equal(status, 'rejected')
  t.ok(seen.requests <= 16, `${seen.requests} requests: those that came too late are not sent`)
})

t.test('once closed, those who wait are told, and nothing more is sent', async (t) => {
  const { server, seen } = await slowServer(t, 20_000)
  const asked = Array.from({ length: 20 }, () => server.ask(question))
  const answers = Promise.allSettled(asked)
  await t.resolves(until(() => seen.requests === 8))

  server.close()

  for (const waiting of asked.slice(8)) await t.rejects(waiting, unavailable)
  await t.rejects(server.ask(question), unavailable)
  await answers
  t.equal(seen.requests, 8)
})

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await setTimeout(2)
}
