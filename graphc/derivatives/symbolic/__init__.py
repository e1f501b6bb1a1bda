"""The way to sympy and back: conversion, symbolic derivatives, ops from formulas."""
