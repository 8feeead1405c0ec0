/**
 * Some hundred of the lives that `npm run explore -- escrow` has a hundred thousand of: contracts on a chain that reorganises,
 * over a network that loses and repeats, in processes that crash, against a partner who says and publishes whatever he can.
 */
import t, { type Test } from 'tap'
import { defaultPolicy } from '../../contracts/escrow/amounts.ts'
import { exploreCast, type Found } from '../explore/escrow.ts'
import { type Cast, live } from '../fixtures/escrow-world/schedules.ts'

const schedules = 200

/** Throws where something is locked, or somebody loses more than he may. */
async function explored(t: Test, cast: Cast): Promise<Found> {
  const found = await exploreCast(cast, 1, schedules)
  const { ends, renewals, chains, real, states } = found
  for (const state of states) reached.add(state)
  t.comment(
    `${[...ends].map(([end, count]) => `${count} ${end}`).join(', ')}; ${renewals} renewals, ${chains} times several`,
  )
  t.same([...ends.keys()].sort(), ['expiry', 'progress', 'settled', 'unfunded'])
  t.ok(renewals > 5 && chains > 0 && real > 0)
  return found
}

const reached = new Set<string>()

t.test('two honest sides', async (t) => {
  await explored(t, 'honest')
})

t.test('a hostile client: the relay loses something, and no more than it may', async (t) => {
  const { server } = await explored(t, 'hostile client')
  t.ok(server!.lost > 0 && server!.lost <= server!.bound)
})

t.test('a hostile relay: the client loses something, and no more than it may', async (t) => {
  const { client } = await explored(t, 'hostile server')
  t.ok(client!.lost > 0 && client!.lost <= client!.bound)
})

t.test('every state is passed through', async (t) => {
  const client = 'staking opening signed active disputed closing cancelling cancelled closed refunded'
  const server = 'idle reserved active closing disputed held closed failed'
  const expected = [
    ...client.split(' ').map((state) => `client ${state}`),
    ...server.split(' ').map((state) => `server ${state}`),
  ]
  t.same(
    expected.filter((state) => !reached.has(state)),
    [],
  )
})

t.test('a relay that lends more than it says is found out', async (t) => {
  const policy = { ...defaultPolicy, firstCredit: 5000 }
  const lives = Array.from({ length: 30 }, (_, seed) => live(seed, 'hostile client', { policy }))
  const failed = (await Promise.allSettled(lives)).filter(({ status }) => status === 'rejected')
  t.ok(failed.length > 0)
  t.match((failed[0] as PromiseRejectedResult).reason.message, /the server loses \d+ of at most \d+/)
})
