#!/bin/sh
echo dfir-dropped-file: the tools must find me although I was deleted
