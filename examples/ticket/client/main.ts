import { rushProgram } from '../../shared/rush/program.js'
import { target } from './client.js'

await rushProgram(target)
