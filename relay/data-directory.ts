/** What lies in the folder of a relay (`--data`). A backup names its key the same (store/backup.ts). */
import { join } from 'node:path'

export const keyFile = (data: string): string => join(data, 'relay.key')
export const storeDirectory = (data: string): string => join(data, 'store')
/** How a running relay is reached (operator/control.ts). */
export const controlFile = (data: string): string => join(data, 'control.json')
