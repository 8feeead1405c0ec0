/** An operator who cooks his books: while the relay is down, what it knows of a contract is changed. The rest it does by itself. */
import { join } from 'node:path'
import { requested } from '../../contracts/escrow/server-payments.ts'
import type { Server } from '../../contracts/escrow/server-state.ts'
import { storeDirectory } from '../../relay/data-directory.ts'
import { findContract, putContract } from '../../relay/store/contracts.ts'
import { Store } from '../../relay/store/store.ts'
import type { RelayServer, Stage } from './stage.ts'

async function cook(
  stage: Stage,
  { name }: RelayServer,
  { id, change }: { id: string; change: (state: Server) => Server },
): Promise<void> {
  const store = await Store.open({
    directory: storeDirectory(join(stage.folder, name)),
    now: () => stage.now,
  })
  try {
    await store.commit((batch) => {
      const kept = findContract(batch, id)
      if (kept === undefined) throw new Error('there is no contract to be cooked')
      putContract(batch, id, { ...kept, state: change(kept.state) })
    })
  } finally {
    await store.close()
  }
}

/** The relay will ask for the end, and for `satoshi`. */
export const overclaim = (
  stage: Stage,
  relay: RelayServer,
  { id, satoshi }: { id: string; satoshi: number },
): Promise<void> =>
  cook(stage, relay, {
    id,
    change: (state) => (state.state === 'active' ? requested(state, satoshi) : state),
  })

/** It gives in: it publishes what the client has settled. */
export const giveIn = (stage: Stage, relay: RelayServer, id: string): Promise<void> =>
  cook(stage, relay, {
    id,
    change(state) {
      if (state.state !== 'closing' || state.settled === null)
        throw new Error('nothing is settled that could be published')
      return { ...state, publish: { kind: 'settled', ...state.settled } }
    },
  })
