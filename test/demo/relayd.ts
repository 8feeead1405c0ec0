/**
 * relayd as the chapters with contracts start it: it looks at the chain five times a second, so that nobody in the audience
 * waits, and its clock is the demo's (later.ts).
 */
import { destination, pino } from 'pino'
import { readConfig } from '../../relay/config.ts'
import { startRelay } from '../../relay/relay.ts'

const followEveryMs = 200

const log = pino({ level: 'error' }, destination({ fd: 2, sync: true }))
const relay = await startRelay(readConfig(process.argv.slice(3), {}), { log, followEveryMs })
process.once('SIGTERM', () => void relay.close())
const { url, key } = relay
process.stdout.write(`${JSON.stringify({ event: 'ready', url, key })}\n`)
