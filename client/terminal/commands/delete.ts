import { command, exitCodes } from '../command.ts'

export const deleteCommand = command({
  name: 'delete',
  usage: 'RECORD',
  summary: 'take a record of yours, or a file with all its chunks, off the relays',
  help: ['RECORD  its id, as outbox shows it'],
  options: {},
  positionals: [1, 1],
  async run(session, _, [id = '']) {
    const client = await session.client()
    const { failures } = await client.delete(id, { signal: session.signal })
    session.warn(failures)
    const state = failures.length > 0 ? 'deleting' : 'deleted'
    if (state === 'deleting') session.say('relays that did not answer will be told by a later command')
    session.print({ id, state }, `${state} ${id}`)
    return exitCodes.ok
  },
})
